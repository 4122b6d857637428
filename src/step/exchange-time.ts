import type { TimedInstruction } from './executor.js';
import type { AsynchronousOperation, Instruction } from './instruction.js';
import type { Program } from './program.js';

/** Whether what is started goes between ranks; else it goes between a device and its host. */
const GOES_BETWEEN_RANKS = {
  reduce: true,
  gather: true,
  scatter: true,
  sum: true,
  agree: true,
  complete: true,
  send: true,
  exchange: true,
  publish: true,
  compare: true,
  receive: true,
  evict: false,
  fetch: false,
  update: false,
} as const satisfies Readonly<Record<AsynchronousOperation, boolean>>;

const EXCHANGES: ReadonlySet<string> = new Set(
  Object.entries(GOES_BETWEEN_RANKS).flatMap(([op, goes]) => (goes ? [op] : [])),
);

/**
 * Adds up how long a rank did nothing but communicate. Of instructions that start an exchange or wait for one that is their
 * whole time: besides waiting, what the rank's own thread does for the messages (encoding and decoding them, adding what
 * arrives, and copies). Of others it is how long they stood still in collectives, as matrices do that are divided. What goes
 * on beside other instructions is not in it.
 */
export class ExchangeTime {
  #milliseconds = 0;

  get milliseconds(): number {
    return this.#milliseconds;
  }

  /**
   * Takes in one instruction of the program, which has run.
   *
   * @param standstillMs how long it stood still in collectives
   */
  add(
    { instructions }: Pick<Program, 'instructions'>,
    { position, startMs, endMs }: TimedInstruction,
    standstillMs: number,
  ): void {
    const instruction = instructions[position];
    const isWhole = instruction !== undefined && isExchange(instruction);
    this.#milliseconds += isWhole ? endMs - startMs : standstillMs;
  }
}

function isExchange(instruction: Instruction): boolean {
  const { op } = instruction.op === 'wait' ? instruction.started : instruction;
  return EXCHANGES.has(op);
}

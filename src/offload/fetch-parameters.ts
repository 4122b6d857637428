import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';
import { isFetched, rangeElements } from '../step/sharding.js';

export interface FetchParametersOptions {
  /** Blocks that may be on their way before they are gathered. */
  readonly blocksAhead: number;
  /** Elements that these may have, all together. One block may always be fetched when it is needed. */
  readonly elementsAhead: number;
}

/**
 * Before a block is gathered this rank's slice of it is fetched. The next uses are known, so that each fetch starts as
 * early as the limits allow and the block's memory is free of its use before.
 */
export function fetchParameters(options: FetchParametersOptions): Pass {
  return (program) => {
    const writer = new Writer(program, options);
    for (const instruction of program.instructions) writer.add(instruction);
    return { ...program, instructions: writer.instructions };
  };
}

class Writer {
  readonly instructions: Instruction[] = [];
  readonly #program: Program;
  readonly #options: FetchParametersOptions;
  /** Blocks in the order in which they are gathered. */
  readonly #uses: readonly number[];
  /** How many of these are started, and how many are gathered. */
  #started = 0;
  #gathered = 0;
  /** Blocks that have memory. */
  readonly #live = new Set<number>();

  constructor(program: Program, options: FetchParametersOptions) {
    this.#program = program;
    this.#options = options;
    this.#uses = program.instructions.flatMap((each) => fetchedBy(each, program) ?? []);
    this.#startAhead();
  }

  add(instruction: Instruction): void {
    const block = fetchedBy(instruction, this.#program);
    if (block === undefined) {
      this.instructions.push(instruction);
      if (instruction.op !== 'release' || instruction.memory !== 'parameters') return;
      this.#live.delete(instruction.block);
      this.#startAhead();
      return;
    }
    if (this.#started === this.#gathered) this.#start();
    this.instructions.push({ op: 'wait', started: fetch(block) }, instruction);
    this.#gathered += 1;
    this.#startAhead();
  }

  #startAhead(): void {
    while (this.#started < this.#uses.length && this.#hasRoom()) this.#start();
  }

  #hasRoom(): boolean {
    const ahead = this.#uses.slice(this.#gathered, this.#started + 1);
    const next = ahead.at(-1);
    if (next === undefined || this.#live.has(next) || ahead.length > this.#options.blocksAhead) return false;
    const { sharding } = this.#program;
    const elements = ahead.reduce((sum, block) => sum + (sharding ? rangeElements(sharding, block) : 0), 0);
    return elements <= this.#options.elementsAhead;
  }

  #start(): void {
    const block = this.#uses[this.#started];
    if (block === undefined) return;
    this.#started += 1;
    this.#live.add(block);
    this.instructions.push(fetch(block));
  }
}

/** The block that an instruction gathers from slices of which the own one is fetched. */
function fetchedBy(instruction: Instruction, program: Program): number | undefined {
  const isOwnGather =
    instruction.op === 'gather' && instruction.of === undefined && instruction.from === undefined;
  return isOwnGather && isFetched(instruction.block, program) ? instruction.block : undefined;
}

function fetch(block: number): Instruction<'fetch'> {
  return { op: 'fetch', memory: 'parameters', block };
}

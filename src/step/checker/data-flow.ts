import type { Account, Collective, Made } from '../effects/effect-table.js';
import { initialValues } from '../effects/initial-values.js';
import { effectsOf, goalValues } from '../effects.js';
import type { GroupName, Program } from '../program.js';
import { standingBuffers } from '../standing-buffers.js';
import { refusal } from './refusal.js';

/** Memory at the moment when a program has most of it on its device. */
export interface MemoryPeak {
  readonly bytes: number;
  /** Index of the instruction that is running then. */
  readonly position: number;
  /**
   * What `bytes` consists of. Where the host's memory is apart (`Program.hostIsApart`), the line `host` is not in
   * that sum: it is the most that lies there at any moment of the step, which is seldom that of the peak. The line `nvme`
   * never is.
   */
  readonly ledger: Readonly<Record<Account, number>>;
}

/**
 * Follows every value through the program (see the note on values at `Effects`) and refuses the first
 * instruction that reads what is not there, makes what is there, or frees what somebody still needs.
 *
 * @param see is told the live bytes on the device at the height of each instruction
 * @returns the peak of live bytes on the device, over everything that the program and its initial values allocate.
 */
export function followValues(
  program: Program,
  see: (position: number, bytes: number) => void = () => undefined,
): MemoryPeak {
  const initial = [...initialValues(program), ...standingBuffers(program)];
  const values = new LiveValues(initial, program.hostIsApart ?? false);
  const pending = new Map<string, Pending>();
  let peak = values.peakAt(-1);

  for (const [position, instruction] of program.instructions.entries()) {
    const effects = effectsOf(instruction, program);
    const refuse = (reason: string | undefined) => {
      if (reason !== undefined) throw refusal(program, position, reason);
    };
    if (effects.completes !== undefined) {
      const start = pending.get(effects.completes);
      if (start === undefined) throw refusal(program, position, `nothing started "${effects.completes}"`);
      pending.delete(effects.completes);
      while (start.makes.some(({ value }) => values.hasStagesToCome(value))) {
        values.advance(start.collective?.group);
        if (values.bytes > peak.bytes) peak = values.peakAt(position);
      }
      values.complete(start);
      for (const value of start.frees) refuse(values.free(value));
    }
    for (const value of effects.reads) refuse(values.whyUnreadable(value));
    if (effects.starts !== undefined) {
      if (pending.has(effects.starts)) refuse(`"${effects.starts}" is started already`);
      pending.set(effects.starts, { position, ...effects });
      for (const value of effects.reads) values.hold(value);
    }
    if (effects.makes.some(goesInStages)) values.advance(effects.collective?.group);
    for (const made of effects.makes) refuse(values.make(made, effects.starts, effects.collective?.group));
    const { becomes } = effects;
    const grows = becomes !== undefined && bytesOf(becomes.made) > values.bytesOf(becomes.from);
    if (becomes !== undefined && grows) refuse(values.turn(becomes.from, becomes.made));
    see(position, values.bytes);
    if (values.bytes > peak.bytes) peak = values.peakAt(position);
    if (becomes !== undefined && !grows) refuse(values.turn(becomes.from, becomes.made));
    if (effects.starts === undefined) for (const value of effects.frees) refuse(values.free(value));
  }

  checkEnd(program, initial, values, pending);
  return values.withHost(peak);
}

interface Pending {
  readonly position: number;
  readonly reads: readonly string[];
  readonly makes: readonly Made[];
  readonly frees: readonly string[];
  readonly collective?: Collective;
}

function checkEnd(
  program: Program,
  initial: readonly Made[],
  values: LiveValues,
  pending: ReadonlyMap<string, Pending>,
): void {
  for (const [name, { position }] of pending) throw refusal(program, position, `nothing waits for "${name}"`);
  const missed = goalValues(program).find((goal) => values.whyUnreadable(goal) !== undefined);
  if (missed !== undefined) throw refusal(program, undefined, `it ends without "${missed}"`);
  const before = new Set(initial.map((made) => made.value));
  const kept = values.allocated();
  const left = kept.find((value) => !before.has(value));
  if (left !== undefined) throw refusal(program, undefined, `it ends with "${left}" still in memory`);
  const lost = [...before].find((value) => !kept.includes(value));
  if (lost !== undefined) throw refusal(program, undefined, `it ends without "${lost}", which it began with`);
}

function goesInStages({ memory }: Made): boolean {
  return memory?.stages !== undefined;
}

function bytesOf({ memory }: Made): number {
  return memory?.bytes ?? 0;
}

interface LiveValue {
  readonly made: Made;
  pendingIn: string | undefined;
  holds: number;
  /** Of the collective that goes in stages. */
  readonly group: GroupName | undefined;
  /** What it takes of its memory now, where that changes from stage to stage. */
  bytes: number;
  /** What it takes in the stages to come. */
  stages: readonly number[];
}

/** The values that exist at one point of a program. */
class LiveValues {
  /** On the device. */
  bytes = 0;
  #mostOnHost = 0;
  readonly #live = new Map<string, LiveValue>();
  readonly #ledger: Record<Account, number> = {
    constants: 0,
    parameters: 0,
    masters: 0,
    gathered: 0,
    secondary: 0,
    gradients: 0,
    optimizer: 0,
    buckets: 0,
    errors: 0,
    activations: 0,
    workspace: 0,
    batches: 0,
    tiles: 0,
    host: 0,
    nvme: 0,
  };

  constructor(
    initial: readonly Made[],
    readonly hostIsApart: boolean,
  ) {
    for (const made of initial) this.make(made, undefined);
  }

  /** These return why the program must be refused, or undefined. */
  make(made: Made, pendingIn: string | undefined, group?: GroupName): string | undefined {
    if (this.#live.has(made.value)) return `"${made.value}" exists already`;
    const [bytes = bytesOf(made), ...stages] = made.memory?.stages ?? [];
    this.#live.set(made.value, { made, pendingIn, holds: 0, group, bytes, stages });
    this.#account(made, bytes);
    return undefined;
  }

  whyUnreadable(value: string): string | undefined {
    const entry = this.#live.get(value);
    if (entry === undefined) return `"${value}" is not there`;
    if (entry.pendingIn !== undefined)
      return `"${value}" is not finished: "${entry.pendingIn}" is not waited for`;
    return undefined;
  }

  free(value: string): string | undefined {
    const unreadable = this.whyUnreadable(value);
    if (unreadable !== undefined) return unreadable;
    const entry = this.#live.get(value);
    if (entry === undefined) return undefined;
    if (entry.holds > 0) return `"${value}" is still in use by something that was started`;
    this.#live.delete(value);
    this.#account(entry.made, -entry.bytes);
    return undefined;
  }

  hasStagesToCome(value: string): boolean {
    return (this.#live.get(value)?.stages.length ?? 0) > 0;
  }

  /** Takes everything that goes in stages in a group one further. */
  advance(group: GroupName | undefined): void {
    for (const entry of this.#live.values()) {
      if (!goesInStages(entry.made) || entry.group !== group) continue;
      const [bytes = 0, ...stages] = entry.stages;
      this.#account(entry.made, bytes - entry.bytes);
      entry.bytes = bytes;
      entry.stages = stages;
    }
  }

  /** One value into another. */
  turn(from: string, made: Made): string | undefined {
    return this.free(from) ?? this.make(made, undefined);
  }

  bytesOf(value: string): number {
    const entry = this.#live.get(value);
    return entry === undefined ? 0 : bytesOf(entry.made);
  }

  hold(value: string): void {
    const entry = this.#live.get(value);
    if (entry !== undefined) entry.holds += 1;
  }

  complete(start: Pending): void {
    for (const { value } of start.makes) {
      const entry = this.#live.get(value);
      if (entry !== undefined) entry.pendingIn = undefined;
    }
    for (const value of start.reads) {
      const entry = this.#live.get(value);
      if (entry !== undefined) entry.holds -= 1;
    }
  }

  allocated(): readonly string[] {
    return [...this.#live.values()]
      .filter(({ made }) => made.memory !== undefined)
      .map(({ made }) => made.value);
  }

  peakAt(position: number): MemoryPeak {
    return { bytes: this.bytes, position, ledger: { ...this.#ledger } };
  }

  /** A peak of the device's memory, and with it that of the host's where this is another. */
  withHost(peak: MemoryPeak): MemoryPeak {
    return this.hostIsApart ? { ...peak, ledger: { ...peak.ledger, host: this.#mostOnHost } } : peak;
  }

  #isOnDevice(account: Account): boolean {
    return account !== 'nvme' && (account !== 'host' || !this.hostIsApart);
  }

  #account({ memory }: Made, change: number): void {
    if (memory === undefined || memory.pool !== undefined) return;
    this.#ledger[memory.account] += change;
    this.#mostOnHost = Math.max(this.#mostOnHost, this.#ledger.host);
    if (this.#isOnDevice(memory.account)) this.bytes += change;
  }
}

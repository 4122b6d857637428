import { followValues } from './checker/data-flow.js';
import { type Collective, effectsOf, type HostCopy } from './effects.js';
import { type Instruction, instructionText } from './instruction.js';
import type { Program } from './program.js';
import type { Slice } from './timeline.js';

/** How long things take on the machine that is simulated, in milliseconds. */
export interface CostModel {
  /** Time of an instruction on the compute stream, without waiting for anything. */
  compute(instruction: Instruction, program: Program): number;
  /** Time of a collective on the communication stream, from when its last rank came. */
  communicate(collective: Collective, ranks: number): number;
  /** Time of a copy over the link between the device and its host, which nothing else uses meanwhile. */
  copy(copy: HostCopy): number;
}

/** How one rank spends a step. */
export interface SimulatedRank {
  readonly rank: number;
  readonly endMs: number;
  readonly computeMs: number;
  readonly communicationMs: number;
  readonly copyMs: number;
  /** Time in which the compute stream stood still in a wait. */
  readonly exposedMs: number;
  readonly peakBytes: number;
}

export interface Simulation {
  /** When the last rank is done. */
  readonly stepMs: number;
  readonly ranks: readonly SimulatedRank[];
  readonly slices: readonly Slice[];
}

/**
 * Runs the programs of all ranks over a cost model. A rank has three streams, one that computes, one that
 * communicates and one that copies between device and host; each does one thing at a time, in program order. A
 * collective begins when every member has started it and has its communication stream free.
 *
 * The programs must have passed `checkPrograms`, which rules out that ranks wait for each other for ever.
 */
export function simulate(programs: readonly Program[], costs: CostModel): Simulation {
  const ranks = new Map(programs.map((program) => [program.rank, new RankClock(program, costs)]));
  const all = [...ranks.values()];
  while (all.some((rank) => !rank.isDone)) {
    const advanced = all.map((rank) => rank.advance());
    const met = all.map((rank) => meet(rank, ranks, costs));
    if (![...advanced, ...met].includes(true)) throw new Error('The simulated ranks wait for each other.');
  }
  const results = all.map((rank) => rank.result());
  return {
    stepMs: Math.max(0, ...results.map((result) => result.endMs)),
    ranks: results,
    slices: all.flatMap((rank) => rank.slices),
  };
}

/** Runs the collective at the head of a rank's queue if it is at the head for all members. */
function meet(rank: RankClock, ranks: ReadonlyMap<number, RankClock>, costs: CostModel): boolean {
  const head = rank.queue[0];
  if (head === undefined) return false;
  const members = (rank.program.groups[head.collective.group] ?? []).map((member) => ranks.get(member));
  if (!members.every((member) => member !== undefined))
    throw new Error('A rank of the group has no program.');
  const heads = members.map((member) => member.queue[0]);
  if (!heads.every((other) => other !== undefined && other.collective.group === head.collective.group)) {
    return false;
  }
  const startMs = Math.max(
    ...members.map((member, index) => Math.max(member.communicationFreeMs, heads[index]?.issuedMs ?? 0)),
  );
  const endMs = startMs + costs.communicate(head.collective, members.length);
  for (const member of members) member.finishHead(startMs, endMs);
  return true;
}

/** A collective that a rank has started and that has not run yet. */
interface Queued {
  readonly name: string;
  readonly collective: Collective;
  readonly issuedMs: number;
}

/** One rank's place in its program and on its streams. */
class RankClock {
  readonly queue: Queued[] = [];
  readonly slices: Slice[] = [];
  communicationFreeMs = 0;
  #position = 0;
  #nowMs = 0;
  #computeMs = 0;
  #communicationMs = 0;
  #copyFreeMs = 0;
  #copyMs = 0;
  #exposedMs = 0;
  readonly #finished = new Map<string, number>();

  constructor(
    readonly program: Program,
    readonly costs: CostModel,
  ) {}

  get isDone(): boolean {
    return this.#position === this.program.instructions.length;
  }

  /** Runs instructions up to a wait for something that has no end yet. Returns whether any ran. */
  advance(): boolean {
    const from = this.#position;
    for (;;) {
      const instruction = this.program.instructions[this.#position];
      if (instruction === undefined) break;
      const { starts, completes, collective, copy } = effectsOf(instruction, this.program);
      const readyMs = completes === undefined ? this.#nowMs : this.#finished.get(completes);
      if (readyMs === undefined) break;
      if (completes !== undefined) this.#finished.delete(completes);
      this.#run(instruction, readyMs);
      if (starts !== undefined && collective !== undefined) {
        this.queue.push({ name: starts, collective, issuedMs: this.#nowMs });
      }
      if (starts !== undefined && copy !== undefined) this.#copy(starts, copy);
      this.#position += 1;
    }
    return this.#position > from;
  }

  finishHead(startMs: number, endMs: number): void {
    const head = this.queue.shift();
    if (head === undefined) return;
    this.#finished.set(head.name, endMs);
    this.communicationFreeMs = endMs;
    this.#communicationMs += endMs - startMs;
    this.#draw('communication', head.name, startMs, endMs);
  }

  result(): SimulatedRank {
    return {
      rank: this.program.rank,
      endMs: this.#nowMs,
      computeMs: this.#computeMs,
      communicationMs: this.#communicationMs,
      copyMs: this.#copyMs,
      exposedMs: this.#exposedMs,
      peakBytes: followValues(this.program).bytes,
    };
  }

  #run(instruction: Instruction, readyMs: number): void {
    const startMs = this.#nowMs;
    const waitMs = Math.max(0, readyMs - startMs);
    const costMs = this.costs.compute(instruction, this.program);
    this.#exposedMs += waitMs;
    this.#computeMs += costMs;
    this.#nowMs = startMs + waitMs + costMs;
    this.#draw('compute', instructionText(instruction), startMs, this.#nowMs);
  }

  /** Needs nobody else, so that its end is known as soon as it is started. */
  #copy(name: string, copy: HostCopy): void {
    const startMs = Math.max(this.#copyFreeMs, this.#nowMs);
    const endMs = startMs + this.costs.copy(copy);
    this.#finished.set(name, endMs);
    this.#copyFreeMs = endMs;
    this.#copyMs += endMs - startMs;
    this.#draw('copy', name, startMs, endMs);
  }

  #draw(stream: Slice['stream'], name: string, startMs: number, endMs: number): void {
    if (endMs > startMs) this.slices.push({ rank: this.program.rank, stream, name, startMs, endMs });
  }
}

import type { Collective, Message, TierCopy } from '../effects/effect-table.js';
import type { Instruction } from '../instruction.js';
import type { Program } from '../program.js';
import type { Slice } from '../timeline.js';

/** How long things take on the machine that is simulated, in milliseconds. */
export interface CostModel {
  /** Time of an instruction on the compute stream, without waiting for anything. */
  compute(instruction: Instruction, program: Program): number;
  /** Time of a collective on the communication stream, from when its last rank came. */
  communicate(collective: Collective, ranks: number): number;
  /** Time of a message over the link from one rank to another, on which nothing else goes that way meanwhile. */
  send(message: Message, from: number, to: number): number;
  /** Time of a copy over the link between the device and its host or disk, which nothing else uses meanwhile. */
  copy(copy: TierCopy): number;
}

/** How one rank spends a step. */
export interface SimulatedRank {
  readonly rank: number;
  readonly endMs: number;
  readonly computeMs: number;
  /** Time of all that it communicated, messages to single ranks and from them too; they run beside each other. */
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

import type { AlgorithmName } from '../../comm/algorithm.js';
import type { Instruction, Operation } from '../instruction.js';
import type { GroupName, Program, TierName } from '../program.js';

/**
 * What one instruction does to the rest of the step.
 *
 * [Note: values] Whatever an instruction makes is a named value ("output of block.2 micro 0"). A value is
 * absent, pending (a started instruction is making it) or present. It may be made only while absent, read
 * only while present, and made again only after it was freed. Gradients that add up in one buffer are one
 * value per contribution, so that "the gradient is complete" is "every contribution is present".
 *
 * A value with memory is an allocation: the step must leave exactly those that it found. One without is a
 * fact ("gradient norm"), which stays true until the step ends.
 */
export interface Effects {
  readonly reads: readonly string[];
  readonly makes: readonly Made[];
  readonly frees: readonly string[];
  /** A value that turns into another, in its memory or more, so that there are never both. */
  readonly becomes?: { readonly from: string; readonly made: Made };
  /** Set when the instruction only starts: what it makes is pending and what it reads is held until the wait. */
  readonly starts?: string;
  /** The start that this instruction completes. */
  readonly completes?: string;
  readonly collective?: Collective;
  /** What a block does on its way with the ranks that have other parts of it, one after the other. */
  readonly inside?: readonly Collective[];
  /** What it starts to send to another rank or to receive from it. */
  readonly message?: Message;
  /** What it starts to copy over the link between the device and its host, or its disk. */
  readonly copy?: TierCopy;
}

/** A value that appears, with the memory that it takes. */
export interface Made {
  readonly value: string;
  readonly memory?: Allocation;
}

export interface Allocation {
  readonly account: Account;
  readonly bytes: number;
  /** Taken from buffers that are kept for the next to use them (`standing-buffers.ts`); absent: allocated anew. */
  readonly pool?: 'messages' | 'blocks';
  /** How many of them are in use in each stage of what is started; left out: one until it is awaited. */
  readonly held?: readonly number[];
  /**
   * Allocated anew, but in stages: so many bytes in each, and `bytes` at most. What goes in stages is taken one further
   * whenever a later one starts, and to its end by the wait. Left out: `bytes` until it is awaited.
   */
  readonly stages?: readonly number[];
}

/**
 * The lines of the memory ledger. `tiles`: what an update passes through that is not in memory. `host`: what was moved off
 * the device; `nvme`: what lies in files, which is no part of any peak.
 */
export type Account =
  | 'constants'
  | 'parameters'
  | 'masters'
  | 'gathered'
  | 'secondary'
  | 'gradients'
  | 'optimizer'
  | 'buckets'
  | 'errors'
  | 'activations'
  | 'workspace'
  | 'batches'
  | 'tiles'
  | 'host'
  | 'nvme';

/** What all ranks of a group must do together and in the same order. */
export interface Collective {
  readonly kind: 'all-reduce' | 'reduce-scatter' | 'all-gather' | 'all-to-all';
  readonly group: GroupName;
  /** What is combined; it must be the same thing on every rank. */
  readonly subject: string;
  readonly elements: number;
  readonly bytes: number;
  /** What this rank sends; left out: the share of the bytes that the kind takes. */
  readonly sentBytes?: number;
  /** The algorithm of our own by which it is done. */
  readonly algorithm?: AlgorithmName;
  /** How the elements are compressed on the wire ("fp16 dynamic"). */
  readonly codec?: string;
}

/** What one rank sends and another receives; both sides must start it. */
export interface Message {
  readonly direction: 'send' | 'receive';
  /** The other side's rank in the world. */
  readonly peer: number;
  /** What it is; the same on both sides. */
  readonly subject: string;
  readonly bytes: number;
}

/** A copy between the memory of a device and another tier. */
export interface TierCopy {
  readonly to: TierName | 'device';
  /** Of what comes to the device: where it comes from; left out: the host. */
  readonly from?: TierName;
  readonly bytes: number;
}

/** For each operation what one of its instructions does. */
export type EffectTable = {
  readonly [Op in Operation]: (instruction: Instruction<Op>, program: Program) => Effects;
};

import type { ActiveCompression } from '../comm/config.js';
import type { ReductionStages } from '../comm/process-group.js';

/**
 * What each instruction of a step program says beside its name. A new capability is a new row here; the
 * compiler then asks for its words (`instruction-text.ts`), its effects (`effects.ts`) and its handler (`executor.ts`).
 *
 * Blocks, micro-batches and buckets are indices into the tables of the `Program`.
 */
export interface InstructionTable {
  /** Sets the gradient buffer and its tally to zero. */
  readonly clear: object;
  /** Brings one micro-batch to the device. */
  readonly load: { readonly micro: number };
  /** Runs a block and keeps what its backward needs; with `drop`, only its output: a `recompute` must follow. */
  readonly forward: { readonly block: number; readonly micro: number; readonly drop?: true };
  /** Runs the forward of a block again that dropped what its backward needs. */
  readonly recompute: { readonly block: number; readonly micro: number };
  /**
   * Adds to the gradients of the block's parameters and frees what its forward kept. In two halves (Qi et al., arXiv
   * 2401.10241) `input` makes the gradient of the block's input, which the stage before waits for, and keeps what the
   * products of gradients and inputs are made of; a later `weights` adds those products to the gradients.
   */
  readonly backward: {
    readonly block: number;
    readonly micro: number;
    /** Left out: both, one after the other. */
    readonly half?: 'input' | 'weights';
  };
  /** Starts handing something to another stage of the pipeline; a `wait` must follow, which frees a gradient. */
  readonly send: Handed;
  /** Starts taking what another stage hands over; it is there after the `wait` that must follow. */
  readonly receive: Handed;
  /**
   * Starts the sum of those of a block's gradients of which each rank along an axis knows a part (`Program.completions`);
   * a `wait` must follow.
   */
  readonly complete: { readonly block: number; readonly axis: 'tensor' | 'tied' };
  /**
   * Starts the sum of one gradient bucket over the data-parallel ranks; a `wait` must follow. `ordered`: in the
   * order of ranks, from the messages of all.
   */
  readonly reduce: {
    readonly bucket: number;
    readonly ordered?: true;
    readonly compression?: ActiveCompression;
    /** Left out: gradients. */
    readonly of?: 'momentum';
    /** How the ranks' group will do it, where that takes messages that wait to be added. */
    readonly stages?: ReductionStages;
  };
  /** Makes a block's parameters for computing, in 16 bits, from the fp32 weights. */
  readonly cast: { readonly block: number };
  /** Starts making a block's parameters whole from the slices of all ranks; a `wait` must follow. */
  readonly gather: {
    readonly block: number;
    readonly compression?: ActiveCompression;
    /** Left out: parameters. */
    readonly of?: 'momentum';
    /** From the second copy, which fewer ranks divide; left out: from the slices that ranks own. */
    readonly from?: 'secondary';
  };
  /** Makes this rank's slice of the second copy of a block's parameters, from the whole block. */
  readonly copy: { readonly block: number };
  /** Allocates a block's gradients, of one micro-batch or of all, and sets them to zero. */
  readonly prepare: { readonly block: number; readonly micro?: number };
  /**
   * Starts the sum of one part of a block's gradients over the ranks, each of which gets its own slice; a
   * `wait` must follow. Without `micro` the gradients are those of all micro-batches together. `betweenHosts`: those
   * of one host add up as they are, and only their sums are compressed.
   */
  readonly scatter: {
    readonly part: number;
    readonly micro?: number;
    readonly compression?: ActiveCompression;
    readonly betweenHosts?: true;
  };
  /**
   * Starts the sum of this rank's slice of a block's gradients over the ranks that own the same, once its scatters are
   * done; a `wait` must follow.
   */
  readonly sum: { readonly block: number; readonly compression?: ActiveCompression };
  /** Frees a block's parameters or gradients; the slice that this rank owns stays. */
  readonly release:
    | { readonly block: number; readonly memory: 'parameters' }
    | { readonly block: number; readonly memory: 'gradients'; readonly micro?: number };
  /**
   * Starts telling all ranks each other's tally and sum of squared gradients, or, where they stay with their ranks, the
   * norm of each rank's own; a `wait` must follow.
   */
  readonly agree: {
    readonly gradients?: 'own';
    /**
     * With ranks that own the same slices or have other parts of the model, of what is known to the ranks before; left
     * out: with those over which the state is divided.
     */
    readonly over?: 'replicate' | 'tensor' | 'pipeline';
  };
  /**
   * Starts moving what a block made to where it is kept. Of an output, the `wait` that must follow frees it on the device,
   * where nothing can use it from then on; gradients are this rank's slice of their sum, and their memory is free to be
   * released after the `wait`.
   */
  readonly evict: MovedOutput | EvictedGradients;
  /**
   * Starts bringing back to the device what is kept elsewhere; it is there after the `wait`. Parameters are this rank's
   * slice, in the memory of the whole block, which a `gather` completes.
   */
  readonly fetch: MovedOutput | FetchedParameters | FetchedGradients;
  /** Blocks until a started instruction is done. */
  readonly wait: { readonly started: Instruction<AsynchronousOperation> };
  /** Copies what messages have lost before this step, for the case that the step is left out. */
  readonly remember: object;
  /** Frees that copy, where `check` found an infinite gradient after putting it back. */
  readonly restore: object;
  /** Finds out, the same on all ranks, whether every gradient is finite, and which is not; with `loss` also whether that is. */
  readonly check: { readonly loss?: true };
  /** Computes the global gradient norm and from it the factor that brings it down to `maximumNorm`. */
  readonly clip: { readonly maximumNorm?: number };
  /**
   * Makes this rank's share of the new momentum from the old one and its own gradients; with `unlessOverflow` not
   * where `check` found an infinite gradient, and then its exchange is left out too.
   */
  readonly accumulate: { readonly decay: number; readonly unlessOverflow?: true };
  /**
   * One optimizer update of the parameters; with `unlessOverflow` none where `check` found an infinite gradient. With `left`
   * it is only left to the next step, with its gradients, and is made there by `update`.
   */
  readonly step: { readonly unlessOverflow?: true; readonly left?: true };
  /** Makes the weights of the update that the step before has made those that blocks compute with. */
  readonly adopt: object;
  /** Makes a part of the update that the step before has left. */
  readonly update: UpdateOfBlock | UpdateShare;
  /**
   * Starts giving every rank its slice of the weights of all replicas, in the memory of gradients, which nobody
   * needs after the update; a `wait` must follow.
   */
  readonly exchange: object;
  /** Makes this rank's slice of the new common weights from those of all replicas, and measures how far each is off. */
  readonly merge: object;
  /** Starts making every replica's weights the new common ones; a `wait` must follow. */
  readonly publish: object;
  /** Starts telling all ranks each other's loss, votes to stop and distances of replicas; a `wait` must follow. */
  readonly compare: object;
}

/** What `evict` and `fetch` move between a device and its host: the output of a block for one micro-batch. */
export interface MovedOutput {
  readonly memory: 'output';
  readonly block: number;
  readonly micro: number;
}

/** The own slice of a block's gradients that goes to its tier once it is summed. */
export interface EvictedGradients {
  readonly memory: 'gradients';
  readonly block: number;
  /** Left out: of all micro-batches together. */
  readonly micro?: number;
  /** Whether the sum so far, which was fetched, is added to it first. */
  readonly adds?: true;
}

/** The sum so far of a block's gradients, before this micro-batch. */
export interface FetchedGradients {
  readonly memory: 'gradients';
  readonly block: number;
  readonly micro: number;
  /**
   * Into the memory of the block, which it gets as by `prepare`, for backward to add to. Left out: beside that, for the
   * next eviction to add.
   */
  readonly continues?: true;
}

export interface FetchedParameters {
  readonly memory: 'parameters';
  readonly block: number;
}

/** Up to this block; where its weights are used from, they are written by the `wait` that must follow. */
export interface UpdateOfBlock {
  readonly block: number;
}

/** One of so many equal shares, counted from 0; what it reads and writes goes on after it. */
export interface UpdateShare {
  readonly share: number;
  readonly shares: number;
}

/** What stages of a pipeline hand to each other: the output of a block for one micro-batch, or the gradient of that. */
export interface Handed {
  readonly memory: 'output' | 'gradient';
  /** The block that made the output, on whichever stage. */
  readonly block: number;
  readonly micro: number;
  /** The other side's rank in the world. */
  readonly peer: number;
}

export type Operation = keyof InstructionTable;

/** Operations that only start their work: their results exist after the `wait` that names them. */
export type AsynchronousOperation =
  | 'complete'
  | 'reduce'
  | 'gather'
  | 'scatter'
  | 'sum'
  | 'agree'
  | 'evict'
  | 'fetch'
  | 'send'
  | 'receive'
  | 'update'
  | 'exchange'
  | 'publish'
  | 'compare';

/** One instruction, or the union of all of them; `op` tells them apart. */
export type Instruction<Op extends Operation = Operation> = {
  [K in Op]: { readonly op: K } & InstructionTable[K];
}[Op];

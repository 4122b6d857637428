import type { MeshAxis } from '../comm/mesh.js';
import type { Hosts } from '../comm/topology.js';
import { type FlatRange, type FlatSlot, TALLY_ELEMENTS } from '../nn/flat-layout.js';
import type { Instruction } from './instruction.js';

/** One block of the model as a program sees it. */
export interface ProgramBlock {
  readonly name: string;
  /** Their places in the flat buffers; the names in `owner` tell which are tied. */
  readonly parameters: readonly FlatSlot[];
  /** What forward keeps for backward, its output included, for one micro-batch. */
  readonly activationBytes: number;
  /** What it hands to the next block, and so the size of the gradient that comes back. */
  readonly outputBytes: number;
  /**
   * What the first half of its backward leaves for the second, for one micro-batch; as much as forward keeps beside the
   * output where it is left out.
   */
  readonly deferredBytes?: number;
  /** What its instructions take on their way and give back before they end; nothing where it is unknown. */
  readonly workspace?: Workspace;
  /** What it exchanges within itself for one micro-batch; absent: nothing. */
  readonly exchanges?: BlockExchanges;
}

/** Collectives of a block, in their order. A forward that runs again exchanges the same again. */
export interface BlockExchanges {
  readonly forward: readonly AxisExchange[];
  readonly backward: readonly AxisExchange[];
}

/** One of them, with the elements that it makes or takes over all ranks. */
export interface AxisExchange {
  /** Those that have other parts of its matrices, or other positions of the same sequences. */
  readonly group: 'tensor' | 'sequence';
  readonly kind: 'all-reduce' | 'reduce-scatter' | 'all-gather' | 'all-to-all';
  readonly elements: number;
  readonly bytes: number;
}

/** Bytes that an instruction of a block takes beside what it makes, by kind of instruction. */
export interface Workspace {
  /** Of a forward that keeps what backward needs, and of a recomputation. */
  readonly forward: number;
  /** Of a forward that keeps its output alone. */
  readonly drop: number;
  readonly backward: number;
  /** Of a backward's half for the input, beside what it leaves to the other; as much as the whole where left out. */
  readonly backwardInput?: number;
  /** Of its half for the weights; as much as the whole where left out. */
  readonly backwardWeights?: number;
}

/**
 * A contiguous range of the flat gradient buffer that is reduced as one message.
 *
 * [Note: the tally] The gradient buffer ends in three more elements, the tally: the sum of the scaled losses,
 * the number of target tokens, and whether this rank was asked to stop. The bucket at the end of the buffer
 * carries them, so that the mean loss of the global batch, its token count and the decision to stop together
 * cost no collective of their own. Every reduction starts after the last forward, when the tally is complete.
 */
export interface Bucket {
  /** The range [start, end) in elements of the flat buffer, without the tally. */
  readonly start: number;
  readonly end: number;
  /** Owners of the memory in the range, in the order of the buffer. */
  readonly parameters: readonly string[];
  /** Blocks whose backward adds to the range (more than the owners' blocks where parameters are tied). */
  readonly blocks: readonly number[];
  readonly carriesTally: boolean;
}

/**
 * How the training state is divided over the data-parallel ranks. Each block's range of the flat buffer is cut
 * into as many equal slices as there are ranks; rank r owns the r-th slice of every block and updates that.
 */
export interface Sharding {
  /** Per block: its part of the flat buffer, divisible by the number of ranks. */
  readonly ranges: readonly FlatRange[];
  /** Whether parameters beyond the own slices are always in memory, or gathered before use and released. */
  readonly parameters: 'kept' | 'released';
  /** Whether gradients beyond the own slices are always in memory, or released once they are summed. */
  readonly gradients: 'kept' | 'released';
  /** Whether each micro-batch's gradients are summed over the ranks by themselves, or all of a step at once. */
  readonly reductions: 'every micro-batch' | 'every step';
  readonly parts: readonly GradientPart[];
}

/** Where training state lies that is not on the device: in the memory of its host, or in files on an NVMe disk. */
export type TierName = 'host' | 'nvme';

/**
 * What of the training state lies elsewhere than on the device between its uses (ZeRO-Offload, arXiv 2101.06840;
 * ZeRO-Infinity, arXiv 2104.07857). What is named here are always this rank's own slices.
 */
export interface Offloading {
  /** What the optimizer keeps and, where blocks compute in 16 bits, the weights that it updates. */
  readonly optimizer?: PlacedSlices;
  /** Gradients, where they are released. */
  readonly gradients?: PlacedSlices;
  /** Fetched for each use. */
  readonly parameters?: PlacedSlices;
  /**
   * The update of a step is made in the next: of each block before that uses it, or under a whole step that computes with the
   * weights from before.
   */
  readonly updates: 'before use' | 'delayed';
  /** How the update goes through what is not in memory. */
  readonly tiles: {
    /** Tiles in memory at a time. */
    readonly count: number;
    /** The most elements of one. */
    readonly elements: number;
  };
}

/** The slices of these blocks, which lie in a tier; those of others stay in memory. */
export interface PlacedSlices {
  readonly tier: TierName;
  readonly blocks: readonly number[];
}

/** What of a block's gradients is reduced as one message: the same elements [start, end) of every slice. */
export interface GradientPart extends FlatRange {
  readonly block: number;
  /** Blocks whose backward adds to it (more than its own where parameters are tied). */
  readonly blocks: readonly number[];
}

/**
 * Mixed precision: blocks compute on 16-bit copies of their trainable parameters. The fp32 weights themselves
 * (the masters) are what the optimizer updates, beside gradients that add up in fp32.
 */
export interface MixedPrecision {
  readonly dtype: 'bfloat16' | 'float16';
  /** Of one element that blocks compute with. */
  readonly bytesPerElement: 2;
}

/** The chunk of a bucket whose sum a rank encodes for all: elements [start, end) of the flat buffer. */
export interface OwnChunk extends FlatRange {
  /** Where its errors begin among those of all chunks. */
  readonly offset: number;
}

/** What a rank keeps of what its messages lost (`ErrorMemory`), in fp32. */
export interface ErrorFeedbackLayout {
  /** What the messages say. */
  readonly of: 'gradients' | 'momentum';
  /** Elements of which it keeps what its own messages lost. */
  readonly worker: number;
  /** The chunks whose sums it encodes, one for each bucket; none where sums stay with their owners. */
  readonly server: readonly OwnChunk[];
  /** Whether a step that is left out leaves them as they were: `remember` comes before all messages. */
  readonly isRestored?: true;
}

/**
 * Gradients of a block of which the ranks of a group find summands each, since they have the same parameters
 * and use them on different things. They are summed once per step, before anything else is done with them.
 */
export interface Completion {
  readonly block: number;
  readonly axis: 'tensor' | 'tied';
  /** Elements of the sum. */
  readonly elements: number;
}

/**
 * The part of the model that a rank of a pipeline runs. The blocks are those of the whole model; parameters have
 * only those of this stage. The stages' ranks are `Program.groups.pipeline`, in the order of stages.
 */
export interface PipelineStage {
  /** From 0: the stage that has the model's first block. */
  readonly stage: number;
  readonly stages: number;
  /**
   * Runs of neighbouring blocks, as indices into `Program.blocks`, in the order of the model; equally many on every
   * stage. Chunk c of stage s hands to chunk c of stage s + 1, the last stage to chunk c + 1 of the first.
   */
  readonly chunks: readonly (readonly number[])[];
}

/**
 * A set of ranks that communicate: along an axis of the mesh; `sequence`: those of the data axis that share sequences;
 * `tied`: stages with the same parameter; `replicas`: those that train a whole model each and bring these together now and
 * then; `replicate`: those that own the same slices, where training state is divided inside groups of the data axis, and
 * `data` is this rank's group; `secondary`: those that divide a second copy of the parameters.
 */
export type GroupName = MeshAxis | 'sequence' | 'tied' | 'replicas' | 'replicate' | 'secondary';

/** The world ranks of this rank's groups (`axisRanks`); an axis of one rank needs none but `data`. */
export type Groups = { readonly data: readonly number[] } & {
  readonly [Name in Exclude<GroupName, 'data'>]?: readonly number[];
};

/**
 * One rank's training step as data: everything it does, in order. Compiled by passes (each takes a program
 * and gives a program), checked, executed, simulated, printed; none of these knows which feature put an
 * instruction there.
 */
export interface Program {
  readonly rank: number;
  readonly worldSize: number;
  /** What must be true at the end: the parameters are updated, or the gradients and their norm are known. */
  readonly goal: 'update' | 'gradients';
  /** One short phrase per pass that shaped the program, for its first line. */
  readonly features: readonly string[];
  /** Micro-batches of one step on this rank (DeepSpeed: gradient_accumulation_steps). */
  readonly microBatches: number;
  readonly blocks: readonly ProgramBlock[];
  /** Length of the flat buffer of trainable parameters, padding included, tally excluded. */
  readonly trainableElements: number;
  /** Of gradients and of the weights that the optimizer updates. */
  readonly bytesPerElement: number;
  /** Absent: blocks compute with those weights themselves. */
  readonly precision?: MixedPrecision;
  /** One micro-batch on the device. */
  readonly batchBytes: number;
  /** What the optimizer keeps between steps on this rank. */
  readonly optimizerBytes: number;
  /**
   * What never changes: frozen parameters and tables, which the ranks of a host have in memory once. Nothing where
   * left out.
   */
  readonly constantBytes?: number;
  readonly groups: Groups;
  /** Absent: this rank runs all blocks. */
  readonly pipeline?: PipelineStage;
  /** The ranks of each host, equally many. Left out: all are on one. */
  readonly hosts?: Hosts;
  /** Whether reductions in fp32 need no memory for messages: the ranks read each other's. */
  readonly readsInPlace?: boolean;
  /**
   * Whether the host's memory is another than the device's, so that what is moved there leaves the device. Where
   * they are the same (a CPU, which is what is meant where this is left out) it takes up as much as before.
   */
  readonly hostIsApart?: boolean;
  /** What the ranks sum: the momentum that each has made with its own gradients; left out: gradients. */
  readonly exchanges?: 'momentum';
  /** Whether the step ends with all replicas at the same weights. */
  readonly synchronizes?: true;
  readonly buckets: readonly Bucket[];
  /** Absent: what backward adds to a gradient is all that this rank's part of the batch adds. */
  readonly completions?: readonly Completion[];
  /** Absent: messages lose nothing that must be made good. */
  readonly errorFeedback?: ErrorFeedbackLayout;
  /** Absent: every rank has all of the training state. */
  readonly sharding?: Sharding;
  /** Absent: all of the training state is on the device. */
  readonly offload?: Offloading;
  /** The blocks of whose parameters there is a second copy, as blocks compute with them; left out: none. */
  readonly copiedBlocks?: readonly number[];
  readonly instructions: readonly Instruction[];
}

/** A compilation step. */
export type Pass = (program: Program) => Program;

/** The ranks of a group; none where a rank is in no such group. */
export function membersOf({ groups }: Pick<Program, 'groups'>, group: GroupName): readonly number[] {
  return groups[group] ?? [];
}

/** Elements that a bucket's message has. */
export function bucketElements(bucket: Bucket): number {
  return bucket.end - bucket.start + (bucket.carriesTally ? TALLY_ELEMENTS : 0);
}

import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import type { AlgorithmName } from './algorithm.js';
import type { Work } from './work.js';

/** How a group does an all-reduce, and which messages wait in memory to be added while it goes on. */
export interface ReductionStages {
  readonly algorithm: AlgorithmName;
  /** Of the longest of these messages. */
  readonly elements: number;
  /** How many there are in each stage; it goes to the next whenever a later collective starts (`staged-work.ts`). */
  readonly held: readonly number[];
}

/** The stages of the fp32 all-reduce of so many elements of one of a group's ranks; undefined where the transport does it alone. */
export type StagesOf = (rank: number, elements: number) => ReductionStages | undefined;

/** How the ranks' values become one. `mean` divides the sum by the world size, in the tensor's own dtype. */
export type Reduction = 'sum' | 'mean' | 'max';

/**
 * The ranks that take part in collectives, seen from one of them. Every rank calls the same operations in the
 * same order with the same shapes and dtypes. Tensors are contiguous; results are written in place.
 *
 * An operation starts at once and runs beside the caller; its tensors must be left alone until `wait` of its
 * work returns. Names are those of MPI and torch.distributed.
 */
export interface ProcessGroup {
  readonly rank: number;
  readonly worldSize: number;
  /** Whether sums are made in the order of ranks, whatever the message and the timing. */
  readonly sumsInOrder: boolean;
  /** Whether reductions read what the other ranks have where it is, and need no memory for messages. */
  readonly readsInPlace: boolean;
  /** How it makes sums, where algorithms of our own may make them. */
  readonly stagesOf?: StagesOf | undefined;
  /**
   * What this rank has handed to others so far, in bytes: the messages that it sent; in shared memory what it read from
   * the memory of the others and wrote into it. Counted where it happens, or, inside Gloo's own all-reduce and
   * broadcast, by what their algorithms send.
   */
  readonly exchangedBytes: number;
  /** A flat tensor of zeros in the host memory from which this group exchanges fastest. */
  allocate(elements: number, dtype: DType): Tensor;
  /** Every rank gets the reduction of all tensors. */
  allReduce(tensor: Tensor, reduction: Reduction): Work;
  /** Every rank gets the tensor of `root`. */
  broadcast(tensor: Tensor, root: number): Work;
  /**
   * `output` becomes the inputs of all ranks, one after the other: world size × the elements of `input`, which
   * may be this rank's part of it.
   */
  allGather(output: Tensor, input: Tensor): Work;
  /**
   * `output` becomes the reduction over the ranks of what each has as its input for this rank, in the order of
   * ranks, so that the result does not depend on timing.
   *
   * @param inputs one per rank, each like `output`, which may be this rank's own
   */
  reduceScatter(output: Tensor, inputs: readonly Tensor[], reduction: Reduction): Work;
  /**
   * Both tensors have a part for each rank: part p of `output` becomes this rank's part of the input of rank p.
   *
   * @param output like `input`, in memory of its own
   */
  allToAll(output: Tensor, input: Tensor): Work;
  /** Sends to `peer`, which receives with the same tag. Messages with one tag arrive in order. */
  send(tensor: Tensor, peer: number, tag?: number): Work;
  receive(tensor: Tensor, peer: number, tag?: number): Work;
  /** Done when every rank has come here. */
  barrier(): Work;
  /**
   * The same ranks once more, with another deadline: for waits in which a rank is known to be at work on its own. A
   * peer that is gone still fails them at once. Every rank must call it, and close what it gets.
   */
  withDeadline(timeoutMs: number): ProcessGroup;
  /** Waits for the other ranks to close too, and ends the transport. Closing twice is harmless. */
  close(): void;
}

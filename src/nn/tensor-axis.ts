import type { Tensor } from '../tensor/tensor.js';

/**
 * The ranks over which the matrices of every layer are divided, as a layer sees them. Every rank calls the same
 * methods in the same order. They return when the result is there, and leave their argument as it is.
 */
export interface TensorAxis {
  readonly rank: number;
  readonly size: number;
  /**
   * Between the matrices, each rank has only its part of the positions (sequence parallelism, arXiv 2205.05198): the
   * ranks exchange as many bytes, and keep and normalise a part of what they would.
   */
  readonly sequence: boolean;
  sum(tensor: Tensor): Tensor;
  max(tensor: Tensor): Tensor;
  /** The tensors of all ranks one after the other, along a dimension. */
  concatenate(tensor: Tensor, dimension: number): Tensor;
  /** This rank's part, along a dimension, of the sum. */
  scatterSum(tensor: Tensor, dimension: number): Tensor;
}

/**
 * How a parameter lies on the ranks of a tensor axis (Megatron-LM, arXiv 1909.08053). Matrices between the residual
 * stream and the heads or the hidden units are divided by what they put out (`column`), those back to the stream by what
 * they take in (`row`), tables over tokens by their rows (`vocabulary`).
 */
export type Placement =
  | {
      readonly by: 'column';
      /** Of how many equal matrices side by side it is made, each of which is divided; left out: 1. */
      readonly sections?: number;
      /**
       * How many heads they put out. Where these are fewer than the ranks, several have the same one. Left out: any
       * number of outputs, which zeros make divisible.
       */
      readonly heads?: number;
    }
  | { readonly by: 'row'; readonly heads?: number }
  | { readonly by: 'vocabulary' }
  /**
   * On every rank. `inside`: it acts on what is divided, so that each rank knows only a part of its gradient.
   */
  | { readonly by: 'replicated'; readonly inside?: true };

/** Elements [start, start + length) along the divided dimension of the whole parameter. */
export interface Run {
  readonly start: number;
  readonly length: number;
}

/** What of a whole parameter a rank of the tensor axis has. */
export interface Division {
  readonly axis: TensorAxis;
  readonly by: Placement['by'];
  /** Of the whole parameter. */
  readonly shape: readonly number[];
  /** The dimension along which it is divided; undefined where it is whole. */
  readonly dimension?: number;
  /** What each rank has along it, in this order; zeros follow that belong to nothing. */
  readonly runs: readonly (readonly Run[])[];
  /** Whether its gradient is the sum of what this rank and others find. */
  readonly isPartial: boolean;
  /** Whether an earlier rank has the same elements. */
  readonly isCopy: boolean;
}

import type { Tensor } from '../tensor/tensor.js';

/**
 * The ranks that work on the same sequences, each on its own part of the positions, in the order of the positions
 * (context parallelism). Every rank calls the same in the same order.
 */
export interface SequenceAxis {
  readonly rank: number;
  readonly size: number;
  /**
   * Hands part p to rank p. Returns when the result is there, and leaves its argument as it is.
   *
   * @param parts [size, ...]
   * @returns like `parts`: what the ranks have for this one, in their order
   */
  exchange(parts: Tensor): Tensor;
}

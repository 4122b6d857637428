import type { Tensor } from '../tensor/tensor.js';

/**
 * The slices of the training state that this rank owns, one per block: flat tensors of equal length. Where the
 * whole is kept in memory they are views of it.
 */
export interface ShardMemory {
  readonly values: readonly Tensor[];
  /** Absent where no gradients are wanted. */
  readonly gradients: readonly Tensor[];
}

import type { Tensor } from '../tensor/tensor.js';

/**
 * What a rank keeps to bring replicas together: its slice of the weights that all of them had after the last time,
 * and the rule by which these follow the replicas (the outer optimizer). Slices are of fp32 and as long as the weights
 * divided by the number of ranks.
 */
export interface OuterMemory {
  readonly common: Tensor;
  /** Where the rule finds the difference of the common weights to the mean of the replicas: memory of gradients. */
  readonly difference: Tensor;
  /** Moves the common weights. */
  step(): void;
}

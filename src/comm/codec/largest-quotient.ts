import type { Tensor } from '../../tensor/tensor.js';

/** Scales by which the largest magnitude of each block becomes `largest`. */
export function largestQuotient(largest: number): (blocks: Tensor) => Tensor {
  return (blocks) => {
    const [low, high] = blocks.aminmax({ dim: 1 });
    return high.maximum(low.neg()).mul(1 / largest);
  };
}

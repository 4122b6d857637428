import type { LinearStorage } from '../../nn/parameter.js';
import type { Tensor } from '../../tensor/tensor.js';

/**
 * A linear layer's weight with its adapter added, so that it needs none: `weight + scale · up · down`.
 *
 * @param down [rank, inputs]
 * @param up [outputs, rank]
 */
export function mergeWeight(
  weight: Tensor,
  storage: LinearStorage,
  { down, up, scale }: { readonly down: Tensor; readonly up: Tensor; readonly scale: number },
): Tensor {
  const update = up.mm(down).mul(scale);
  return weight.add(storage === 'outputs × inputs' ? update : update.t());
}

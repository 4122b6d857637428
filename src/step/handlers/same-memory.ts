import { empty } from '../../tensor/generated/functions.js';
import type { Tensor } from '../../tensor/tensor.js';

/**
 * A tensor over the same memory that is not a view: what is written through it does not look to autograd like a
 * change of what a graph has kept. Only for values that no graph relies on, or that it finds there again.
 */
export function sameMemory(tensor: Tensor): Tensor {
  return empty([0], { dtype: tensor.dtype, device: tensor.device }).set_(tensor);
}

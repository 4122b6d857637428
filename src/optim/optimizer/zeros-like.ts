import { noGrad } from '../../tensor/autograd.js';
import { zeros } from '../../tensor/generated/functions.js';
import type { Tensor } from '../../tensor/tensor.js';

/** The first value of an optimizer's state: zeros on the parameters' device. */
export function zerosLike(parameters: Tensor): Tensor {
  return noGrad(() => zeros(parameters.shape, { dtype: parameters.dtype, device: parameters.device }));
}

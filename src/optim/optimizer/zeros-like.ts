import { noGrad } from '../../tensor/autograd.js';
import { zeros } from '../../tensor/generated/functions.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import type { OptimizerMemory } from '../optimizer.js';

/** A state that an optimizer was given, or new memory for it, which is kept. */
export function stateOf({ states, parameters }: OptimizerMemory, name: string): Tensor {
  return states?.get(name) ?? keep(zerosLike(parameters));
}

/** The first value of an optimizer's state: zeros on the parameters' device. */
export function zerosLike(parameters: Tensor): Tensor {
  return noGrad(() => zeros(parameters.shape, { dtype: parameters.dtype, device: parameters.device }));
}

import { fusedLinear } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Parameter } from './parameter.js';

/** What may be added to a product on its way out. */
export interface LinearOptions {
  /** [outputs] */
  readonly bias?: Parameter | undefined;
  /** [..., outputs]: a residual stream to add to. */
  readonly residual?: Tensor | undefined;
}

/**
 * `input · weightᵀ + bias + residual`, the gradient of the weight added where it lies.
 *
 * @param weight [outputs, inputs], with any strides
 */
export function linearProduct(
  input: Tensor,
  weight: Pick<Parameter, 'value' | 'gradient'>,
  { bias, residual }: LinearOptions,
): Tensor {
  return fusedLinear(input, weight.value, bias?.value, weight.gradient, bias?.gradient, residual);
}

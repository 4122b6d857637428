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
 * `input · weightᵀ + bias + residual`, as torch.nn.Linear stores its weight.
 *
 * @param input [..., inputs]
 * @param weight [outputs, inputs]
 * @returns [..., outputs]
 */
export function linear(input: Tensor, weight: Parameter, options: LinearOptions = {}): Tensor {
  return product(input, weight.value, weight.gradient, options);
}

/**
 * `input · weight + bias + residual`: a linear layer that stores its weight the other way about, as `Conv1D`
 * in GPT-2.
 *
 * @param input [..., inputs]
 * @param weight [inputs, outputs]
 * @returns [..., outputs]
 */
export function transposedLinear(input: Tensor, weight: Parameter, options: LinearOptions = {}): Tensor {
  return product(input, weight.value.t(), weight.gradient?.t(), options);
}

function product(
  input: Tensor,
  weight: Tensor,
  weightGradient: Tensor | undefined,
  { bias, residual }: LinearOptions,
): Tensor {
  return fusedLinear(input, weight, bias?.value, weightGradient, bias?.gradient, residual);
}

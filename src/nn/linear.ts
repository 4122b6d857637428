import type { Tensor } from '../tensor/tensor.js';
import { type LinearOptions, linearProduct } from './linear-product.js';
import { addUpdates } from './low-rank-update.js';
import type { Parameter } from './parameter.js';

export type { LinearOptions } from './linear-product.js';

/**
 * `input · weightᵀ + bias + residual`, as torch.nn.Linear stores its weight; and what updates the weight carries.
 *
 * @param input [..., inputs]
 * @param weight [outputs, inputs]
 * @returns [..., outputs]
 */
export function linear(input: Tensor, weight: Parameter, options: LinearOptions = {}): Tensor {
  return linearProduct(input, weight, withUpdates(input, weight, 0, options));
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
  const { value, gradient } = weight;
  const transposed = { value: value.t(), ...(gradient && { gradient: gradient.t() }) };
  return linearProduct(input, transposed, withUpdates(input, weight, 1, options));
}

/** @param outputs the dimension of the weight that counts them */
function withUpdates(
  input: Tensor,
  { value, updates }: Parameter,
  outputs: 0 | 1,
  options: LinearOptions,
): LinearOptions {
  if (updates === undefined) return options;
  return { ...options, residual: addUpdates(input, updates, value.shape[outputs] ?? 0, options.residual) };
}

import type { Tensor } from '../tensor/tensor.js';
import { type LinearOptions, linearProduct } from './linear-product.js';
import { addUpdates } from './low-rank-update.js';
import type { Parameter } from './parameter.js';
import type { Division } from './tensor-axis.js';
import { enterDivision, leaveDivision } from './tensor-parallel.js';

export type { LinearOptions } from './linear-product.js';

/**
 * `input · weightᵀ + bias + residual`, as torch.nn.Linear stores its weight; and what updates the weight carries.
 *
 * @param input [..., inputs]
 * @param weight [outputs, inputs]
 * @returns [..., outputs]
 */
export function linear(input: Tensor, weight: Parameter, options: LinearOptions = {}): Tensor {
  return divided(input, weight.division, options, (own, added) =>
    linearProduct(own, weight, withUpdates(own, weight, 0, added)),
  );
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
  return divided(input, weight.division, options, (own, added) =>
    linearProduct(own, transposed, withUpdates(own, weight, 1, added)),
  );
}

/**
 * A product with a matrix that may be divided over a tensor axis. Of one that is divided by its inputs each rank has a
 * summand, and what is added, is added to the sum.
 */
function divided(
  input: Tensor,
  division: Division | undefined,
  options: LinearOptions,
  product: (input: Tensor, options: LinearOptions) => Tensor,
): Tensor {
  if (division === undefined) return product(input, options);
  switch (division.by) {
    case 'column':
      return product(enterDivision(input, division.axis), options);
    case 'row': {
      const { bias, residual } = options;
      const sum = leaveDivision(product(input, {}), division.axis);
      const shifted = bias === undefined ? sum : sum.add(bias.value);
      return residual === undefined ? shifted : shifted.add(residual);
    }
    case 'replicated':
    case 'vocabulary':
      return product(input, options);
    default:
      return division.by satisfies never;
  }
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

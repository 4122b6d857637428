import { fusedLayerNorm } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Parameter } from './parameter.js';

/**
 * Layer normalisation (arXiv 1607.06450): `(input - mean) / sqrt(variance + epsilon) · weight + bias` over the
 * last dimension.
 *
 * @param input [..., features]
 * @param weight [features]
 * @param bias [features]
 */
export function layerNorm(input: Tensor, weight: Parameter, bias: Parameter, epsilon: number): Tensor {
  return fusedLayerNorm(input, weight.value, bias.value, weight.gradient, bias.gradient, epsilon);
}

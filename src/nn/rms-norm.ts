import { atenRmsNorm } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Parameter } from './parameter.js';

/**
 * Root-mean-square normalisation (arXiv 1910.07467): `input / sqrt(mean(input²) + epsilon) · weight` over the
 * last dimension.
 *
 * @param input [..., features]
 * @param weight [features]
 */
export function rmsNorm(input: Tensor, weight: Parameter, epsilon: number): Tensor {
  return atenRmsNorm(input, weight.value.shape, weight.value, epsilon);
}

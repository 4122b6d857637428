import { fusedAddRmsNorm, fusedRmsNorm } from '../tensor/generated/functions.js';
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
  return fusedRmsNorm(input, weight.value, weight.gradient, epsilon);
}

/**
 * The same at a fork of the residual stream: the stream itself, to be added to later, and its normalised
 * branch. Their gradients then meet inside the norm's backward and not in a pass of their own.
 *
 * @returns the stream and the branch, each [..., features]
 */
export function forkRmsNorm(
  stream: Tensor,
  weight: Parameter,
  epsilon: number,
): readonly [stream: Tensor, branch: Tensor] {
  return fusedAddRmsNorm(stream, null, weight.value, weight.gradient, epsilon);
}

import type { BlockContext, BlockParameters } from '../../nn/block.js';
import { dropout } from '../../nn/dropout.js';
import { layerNorm } from '../../nn/layer-norm.js';
import { transposedLinear } from '../../nn/linear.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import type { Tensor } from '../../tensor/tensor.js';
import { bias, biasOf, gain, transposedProjection, weightOf } from '../declare.js';
import type { Gpt2Config } from './gpt2-config.js';

/** Names of what both halves of a layer are made of: a norm, a matrix, and one back onto the residual stream. */
export interface BranchNames {
  readonly norm: string;
  readonly inward: string;
  readonly outward: string;
}

/** The normalised stream through the first matrix. */
export function enterBranch(
  parameters: BlockParameters,
  { norm, inward }: BranchNames,
  stream: Tensor,
  { normEpsilon }: Gpt2Config,
): Tensor {
  const normed = layerNorm(stream, parameters.get(weightOf(norm)), parameters.get(biasOf(norm)), normEpsilon);
  return affine(parameters, inward, normed);
}

/** The projection back to the residual stream; dropout, where there is any, comes between it and the sum. */
export function leaveBranch(
  parameters: BlockParameters,
  { outward }: BranchNames,
  { input, stream }: { readonly input: Tensor; readonly stream: Tensor },
  { dropout: probabilities }: Gpt2Config,
  { training }: BlockContext,
): Tensor {
  const probability = training ? probabilities.residual : 0;
  if (probability === 0) return affine(parameters, outward, input, stream);
  return stream.add(dropout(affine(parameters, outward, input), probability, true));
}

/**
 * Matrices onto the residual stream start smaller by the root of how many there are: two a layer.
 *
 * @param entering outputs of the first matrix
 * @param leaving inputs of the second
 */
export function declareBranch(
  { norm, inward, outward }: BranchNames,
  { hiddenSize, layers, initializerRange: std }: Gpt2Config,
  entering: number,
  leaving: number,
): readonly ParameterDeclaration[] {
  const residualStd = std / Math.sqrt(2 * layers);
  return [
    gain(weightOf(norm), hiddenSize),
    bias(biasOf(norm), hiddenSize),
    transposedProjection(weightOf(inward), [hiddenSize, entering], std),
    bias(biasOf(inward), entering),
    transposedProjection(weightOf(outward), [leaving, hiddenSize], residualStd),
    bias(biasOf(outward), hiddenSize),
  ];
}

function affine(parameters: BlockParameters, name: string, input: Tensor, residual?: Tensor): Tensor {
  return transposedLinear(input, parameters.get(weightOf(name)), {
    bias: parameters.get(biasOf(name)),
    residual,
  });
}

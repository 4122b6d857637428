import type { Activations, BlockContext } from '../nn/block.js';
import { linearCrossEntropy } from '../nn/linear-cross-entropy.js';
import type { Parameter, ParameterDeclaration } from '../nn/parameter.js';
import type { Tensor } from '../tensor/tensor.js';
import { matrix } from './declare.js';

/** Full name of the matrix from features to logits, in every architecture. */
export const HEAD_WEIGHT = 'lm_head.weight';

/** Declares the head's matrix, tied to the input embedding where its full name is given. */
export function declareHead(
  vocabularySize: number,
  features: number,
  std: number,
  tiedTo: string | undefined,
): ParameterDeclaration {
  const declaration = matrix(HEAD_WEIGHT, [vocabularySize, features], std);
  return tiedTo === undefined ? declaration : { ...declaration, tiedTo };
}

/**
 * Runs the head on the normalised hidden state: the loss where there are labels, logits where wanted. Of a text
 * that is being continued only the last position matters.
 */
export function runHead(hidden: Tensor, weight: Parameter, context: BlockContext): Activations {
  const { batch, lossScale, wantLogits, cache } = context;
  const read = cache === undefined ? hidden : hidden.narrow(1, (hidden.shape[1] ?? 0) - 1, 1);
  return linearCrossEntropy(read, weight, { labels: batch.labels, lossScale, wantLogits });
}

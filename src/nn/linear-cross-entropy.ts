import { fusedLinearCrossEntropy } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { dividedCrossEntropy } from './divided-cross-entropy.js';
import type { HeadOptions, HeadResult } from './head.js';
import { linear } from './linear.js';
import type { Parameter } from './parameter.js';

/**
 * The head of a language model and its loss: `lossScale · Σ cross-entropy(hidden · weightᵀ, labels)`. With
 * labels, the logits are readable until the backward, which turns their memory into their gradient.
 *
 * @param hidden [rows, length, features]
 * @param weight [vocabulary, features]
 */
export function linearCrossEntropy(hidden: Tensor, weight: Parameter, options: HeadOptions): HeadResult {
  const { labels, lossScale, wantLogits } = options;
  const { division } = weight;
  if (division?.by === 'vocabulary') return dividedCrossEntropy(hidden, weight, division, options);
  if (labels === undefined) return { logits: linear(hidden, weight) };
  const [loss, logits] = fusedLinearCrossEntropy(
    hidden.flatten(0, -2),
    weight.value,
    weight.gradient,
    labels.flatten(),
    lossScale,
  );
  return wantLogits ? { loss, logits: logits.view([...labels.shape, -1]) } : { loss };
}

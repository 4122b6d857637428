import { BlockOfHalves } from '../../nn/block-of-halves.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import { Gpt2AttentionHalf } from './attention-half.js';
import type { Gpt2Config } from './gpt2-config.js';
import { Gpt2MlpHalf } from './mlp-half.js';

/**
 * One layer of GPT-2: attention, then a feed-forward, each on the normalised residual stream and added back to
 * it (`GPT2Block` in transformers). Matrices are stored [inputs, outputs].
 */
export function gpt2Layer(index: number, config: Gpt2Config, axis: TensorAxis | undefined): BlockOfHalves {
  const name = `transformer.h.${index}`;
  return new BlockOfHalves(name, [
    new Gpt2AttentionHalf(name, config.attentionScale(index), config, axis),
    new Gpt2MlpHalf(name, config, axis),
  ]);
}

import { BlockOfHalves } from '../../nn/block-of-halves.js';
import type { DecoderLayerOptions } from './attention-half.js';
import { LlamaAttentionHalf } from './attention-half.js';
import { LlamaMlpHalf } from './mlp-half.js';

/**
 * One decoder layer of the Llama family: attention with rotary positions, then a gated feed-forward, each on
 * the normalised residual stream and added back to it (`LlamaDecoderLayer` in transformers).
 */
export function llamaDecoderLayer(
  index: number,
  { window, config, rotary, axis }: DecoderLayerOptions,
): BlockOfHalves {
  const name = `model.layers.${index}`;
  return new BlockOfHalves(name, [
    new LlamaAttentionHalf(name, { window, config, rotary, axis }),
    new LlamaMlpHalf(name, config, axis),
  ]);
}

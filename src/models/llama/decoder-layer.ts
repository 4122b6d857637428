import { BlockOfHalves } from '../../nn/block-of-halves.js';
import type { RotaryTable } from '../../nn/rotary-table.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import { LlamaAttentionHalf } from './attention-half.js';
import type { LlamaConfig } from './llama-config.js';
import { LlamaMlpHalf } from './mlp-half.js';

/** What a layer is made from. */
export interface DecoderLayerOptions {
  readonly config: LlamaConfig;
  readonly rotary: RotaryTable;
  /** How many positions, its own included, each position sees; undefined: all before it. */
  readonly window: number | undefined;
  /** Over which matrices are divided; undefined: they are whole. */
  readonly axis: TensorAxis | undefined;
}

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

import { ones, scaledDotProductAttention } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';

/** How positions attend to each other. */
export interface AttentionOptions {
  /** The factor on query · key. */
  readonly scale: number;
  /** How many positions, its own included, each position sees; absent: all before it. */
  readonly window?: number | undefined;
  /** The share of attention weights that dropout zeroes. */
  readonly dropout: number;
}

/**
 * Causal attention, `softmax(scale · query keyᵀ) value` (arXiv 1706.03762). Groups of neighbouring query heads
 * share a key and value head where there are fewer of these (arXiv 2305.13245).
 *
 * @param query [rows, length, heads, headSize]
 * @param key [rows, length, keyValueHeads, headSize]
 * @param value [rows, length, keyValueHeads, headSize]
 * @returns [rows, length, heads · headSize]
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const length = query.shape[1] ?? 0;
  const slides = options.window !== undefined && options.window < length;
  const mask = slides ? slidingMask(length, options.window, query) : undefined;
  const attended = scaledDotProductAttention(
    query.transpose(1, 2),
    key.transpose(1, 2),
    value.transpose(1, 2),
    mask,
    options.dropout,
    mask === undefined,
    { scale: options.scale, enableGqa: query.shape[2] !== key.shape[2] },
  );
  return attended.transpose(1, 2).flatten(2);
}

/** Position i sees j where i - window < j <= i. */
function slidingMask(length: number, window: number, like: Tensor): Tensor {
  const all = ones([length, length], { dtype: 'bool', device: like.device });
  return all.tril().triu(1 - window);
}

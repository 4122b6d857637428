import type { Device } from '../tensor/dtype.js';
import { fusedAttention, ones, scaledDotProductAttention } from '../tensor/generated/functions.js';
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
 * share a key and value head where there are fewer of these (arXiv 2305.13245). Where there are more keys than
 * queries, the queries are those of the last positions.
 *
 * @param query [rows, length, heads, headSize]
 * @param key [rows, keys, keyValueHeads, headSize]
 * @param value [rows, keys, keyValueHeads, headSize]
 * @returns [rows, length, heads · headSize]
 */
export function attention(query: Tensor, key: Tensor, value: Tensor, options: AttentionOptions): Tensor {
  const { scale, window, dropout } = options;
  const queries = query.shape[1] ?? 0;
  const keys = key.shape[1] ?? 0;
  if (dropout === 0 && queries === keys) return fusedAttention(query, key, value, window, scale);
  const mask = maskFor(queries, keys, window, query.device);
  const attended = scaledDotProductAttention(
    query.transpose(1, 2),
    key.transpose(1, 2),
    value.transpose(1, 2),
    mask === 'causal' ? undefined : mask,
    dropout,
    mask === 'causal',
    { scale, enableGqa: query.shape[2] !== key.shape[2] },
  );
  return attended.transpose(1, 2).flatten(2);
}

/** What each query may see: nothing is masked, the plain causal triangle, or a mask of [queries, keys]. */
function maskFor(
  queries: number,
  keys: number,
  window: number | undefined,
  device: Device,
): Tensor | 'causal' | undefined {
  const before = keys - queries;
  const slides = window !== undefined && window < keys;
  if (!slides && queries === 1) return undefined;
  if (!slides && before === 0) return 'causal';
  const upToItself = ones([queries, keys], { dtype: 'bool', device }).tril(before);
  return slides ? upToItself.triu(before + 1 - window) : upToItself;
}

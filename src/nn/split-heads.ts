import type { Tensor } from '../tensor/tensor.js';

/**
 * The queries, keys and values in a joint projection, as views by head.
 *
 * @param projected [rows, length, (heads + 2 · keyValueHeads) · headSize]
 * @returns [rows, length, heads, headSize], and twice the same with keyValueHeads
 */
export function splitHeads(
  projected: Tensor,
  heads: number,
  keyValueHeads: number,
): readonly [query: Tensor, key: Tensor, value: Tensor] {
  const [rows = 0, length = 0] = projected.shape;
  const byHead = projected.view([rows, length, heads + 2 * keyValueHeads, -1]);
  return [
    byHead.narrow(2, 0, heads),
    byHead.narrow(2, heads, keyValueHeads),
    byHead.narrow(2, heads + keyValueHeads, keyValueHeads),
  ];
}

import { applyFunction } from '../tensor/autograd.js';
import { cat } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { type HeadCounts, headsOfRank } from './head-counts.js';
import type { SequenceAxis } from './sequence-axis.js';
import { splitHeads } from './split-heads.js';

/** Causal attention from the joint projection of queries, keys and values to [rows, length, query heads · head size]. */
export type Attend = (projected: Tensor, heads: HeadCounts) => Tensor;

/**
 * Attention over sequences whose positions are divided over ranks (DeepSpeed-Ulysses, arXiv 2309.14509): an exchange
 * turns "my positions, all heads" into "all positions, my heads", and a second one turns the result back. What stands
 * between does not know; of the ranks' own positions it sees as many as the whole sequence has.
 *
 * @param projected [rows, own length, (query + 2 · key and value heads) · head size]
 * @param heads as `canShareHeads` allows
 * @param axis left out: this rank has all positions
 * @returns [rows, own length, query heads · head size]
 */
export function sharedAttention(
  projected: Tensor,
  heads: HeadCounts,
  axis: SequenceAxis | undefined,
  attend: Attend,
): Tensor {
  if (axis === undefined) return attend(projected, heads);
  const own = headsOfRank(heads, axis.size);
  return toOwnPositions(attend(toOwnHeads(projected, heads, axis), own), axis);
}

/** Whether so many ranks can have equal shares of the heads. */
export function canShareHeads({ query, keyValue }: HeadCounts, ranks: number): boolean {
  return query % ranks === 0 && (keyValue % ranks === 0 || ranks % keyValue === 0);
}

/** Every rank gets its queries with the keys and values that belong to them, of all positions. */
function toOwnHeads(projected: Tensor, heads: HeadCounts, axis: SequenceAxis): Tensor {
  const [rows = 0, length = 0] = projected.shape;
  const [query, key, value] = splitHeads(projected, heads.query, heads.keyValue);
  const byRank = (of: Tensor): Tensor => of.reshape([rows, length, axis.size, -1]).permute([2, 0, 1, 3]);
  const keysAndValues = [key, value].map((each) => byRank(forEachRank(each, axis.size)));
  const exchanged = exchange(cat([byRank(query), ...keysAndValues], -1), axis);
  return exchanged.permute([1, 0, 2, 3]).reshape([rows, axis.size * length, -1]);
}

/** @param attended [rows, length, features of this rank's heads] */
function toOwnPositions(attended: Tensor, axis: SequenceAxis): Tensor {
  const [rows = 0, length = 0] = attended.shape;
  const own = length / axis.size;
  const exchanged = exchange(attended.reshape([rows, axis.size, own, -1]).transpose(0, 1), axis);
  return exchanged.permute([1, 2, 0, 3]).reshape([rows, own, -1]);
}

/** Of fewer heads than ranks each one several times, for neighbouring ranks. */
function forEachRank(heads: Tensor, ranks: number): Tensor {
  const [rows = 0, length = 0, count = 0, size = 0] = heads.shape;
  if (count >= ranks) return heads;
  return heads
    .unsqueeze(3)
    .expand([rows, length, count, ranks / count, size])
    .reshape([rows, length, ranks, size]);
}

/** The way back of what is handed to another rank is the same exchange. */
function exchange(parts: Tensor, axis: SequenceAxis): Tensor {
  const [output = parts] = applyFunction(
    {
      forward: ([input]) => ({ outputs: [axis.exchange(input)], saved: [] }),
      backward: (_saved, [gradient]) => [gradient ? axis.exchange(gradient) : null],
    },
    [parts] as const,
  );
  return output;
}

import type { FlatLayout, FlatRange } from '../../nn/flat-layout.js';
import { normSquared } from '../../tensor/generated/functions.js';
import { scope, type Tensor } from '../../tensor/tensor.js';

/**
 * The sum of squares of elements of the flat gradients, without those of parameters that an earlier rank of the tensor
 * axis, or the stage that is their home, has as well: the norm counts them once.
 *
 * @param values elements from `start` on
 */
export function countedSquares(values: Tensor, start: number, layout: FlatLayout): number {
  const counted = between(copiesIn(layout), { start, end: start + values.elements });
  return counted.reduce((sum, range) => {
    if (range.end === range.start) return sum;
    const part = (): Tensor => values.narrow(0, range.start - start, range.end - range.start);
    return sum + scope(() => normSquared(part()).item());
  }, 0);
}

/** Where copies lie, in ascending order. */
function copiesIn({ blocks }: FlatLayout): readonly FlatRange[] {
  return blocks
    .flat()
    .filter(({ name, owner, trainable }) => name === owner && trainable)
    .filter(({ division, shared }) => division?.isCopy === true || shared?.isCopy === true)
    .map(({ offset, elements }) => ({ start: offset, end: offset + elements }))
    .sort((left, right) => left.start - right.start);
}

/** What of a range is in none of these. */
function between(excluded: readonly FlatRange[], { start, end }: FlatRange): readonly FlatRange[] {
  const ranges: FlatRange[] = [];
  let from = start;
  for (const each of excluded) {
    if (each.end <= from || each.start >= end) continue;
    if (each.start > from) ranges.push({ start: from, end: each.start });
    from = each.end;
  }
  return from < end || ranges.length === 0 ? [...ranges, { start: from, end: Math.max(from, end) }] : ranges;
}

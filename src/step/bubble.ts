import type { Slice } from './timeline.js';

/**
 * How long ranks stand still for each unit of time that they compute, over all of them: from when the first of these
 * slices begins to when the last one ends, whatever a rank does not compute it stands still. A pipeline of p equal
 * stages and m micro-batches comes to (p − 1)/m (Narayanan et al., arXiv 2104.04473, §2.2).
 *
 * @param slices measured or simulated; of a part of a step, if only that counts
 * @returns 0 where nothing is computed
 */
export function bubbleFraction(slices: readonly Slice[]): number {
  const computing = slices.filter(({ stream, isWait }) => stream === 'compute' && isWait !== true);
  const ranks = new Set(computing.map(({ rank }) => rank)).size;
  const startMs = computing.reduce(
    (first, slice) => Math.min(first, slice.startMs),
    Number.POSITIVE_INFINITY,
  );
  const endMs = computing.reduce((last, slice) => Math.max(last, slice.endMs), Number.NEGATIVE_INFINITY);
  const busyMs = computing.reduce((sum, slice) => sum + slice.endMs - slice.startMs, 0);
  return busyMs === 0 ? 0 : (ranks * (endMs - startMs)) / busyMs - 1;
}

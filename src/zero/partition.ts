import { invariant } from '../base/errors.js';
import type { FlatLayout, FlatRange } from '../nn/flat-layout.js';
import type { GradientPart } from '../step/program.js';

/**
 * Who owns what of the training state. Every range of the flat buffer is cut into as many equal slices as
 * there are ranks, and rank r owns the r-th slice of each: all ranks own equally much, a range is gathered and
 * reduced as one even-sized message, and a slice pays no heed to where parameters begin.
 */
export interface Partition {
  readonly ranks: number;
  /** One per block, or a single one where nothing is divided. Together they are the flat buffer. */
  readonly ranges: readonly FlatRange[];
}

/** A piece of a parameter that lies in one rank's slice. */
export interface Piece {
  readonly rank: number;
  /** Index of the range. */
  readonly range: number;
  /** First element inside the rank's slice of that range. */
  readonly sliceOffset: number;
  /** First element inside the parameter. */
  readonly offset: number;
  readonly elements: number;
}

/** All of the buffer as a single slice of one rank. */
export function undividedPartition({ trainableElements }: FlatLayout): Partition {
  return { ranks: 1, ranges: [{ start: 0, end: trainableElements }] };
}

/**
 * Every block divided over the ranks.
 *
 * @param layout planned with the number of ranks as its divisor
 */
export function planPartition({ ranges }: FlatLayout, ranks: number): Partition {
  for (const { start, end } of ranges) {
    invariant((end - start) % ranks === 0, `a range of ${end - start} elements has no ${ranks} equal slices`);
  }
  return { ranks, ranges };
}

/** Elements of the flat buffer in the slice of a range that a rank owns. */
export function sliceOf({ ranks, ranges }: Partition, range: number, rank: number): FlatRange {
  const { start, end } = ranges[range] ?? { start: 0, end: 0 };
  const length = (end - start) / ranks;
  return { start: start + rank * length, end: start + (rank + 1) * length };
}

/** The pieces of elements [offset, offset + elements) of the flat buffer, in their order. */
export function piecesOf(
  partition: Partition,
  { offset, elements }: { readonly offset: number; readonly elements: number },
): readonly Piece[] {
  const pieces: Piece[] = [];
  for (const [range, { start, end }] of partition.ranges.entries()) {
    if (end <= offset || start >= offset + elements) continue;
    for (let rank = 0; rank < partition.ranks; rank += 1) {
      const slice = sliceOf(partition, range, rank);
      const from = Math.max(slice.start, offset);
      const to = Math.min(slice.end, offset + elements);
      if (from >= to) continue;
      pieces.push({
        rank,
        range,
        sliceOffset: from - slice.start,
        offset: from - offset,
        elements: to - from,
      });
    }
  }
  return pieces;
}

/** Below this many elements for each rank a message costs more to start than to send. */
const SMALLEST_MESSAGE = 1024;

/**
 * Cuts the slices of every block into parts of at most `bucketElements` over all ranks (DeepSpeed:
 * reduce_bucket_size), though never into messages of fewer than 1024 elements. A part stays inside its block.
 *
 * @param contributors the blocks whose backward adds to the gradients of a block
 */
export function planParts(
  { ranks, ranges }: Partition,
  bucketElements: number,
  contributors: (block: number) => readonly number[],
): readonly GradientPart[] {
  const longest = Math.max(SMALLEST_MESSAGE, Math.floor(bucketElements / ranks));
  return ranges.flatMap(({ start, end }, block) => {
    const slice = (end - start) / ranks;
    const count = Math.ceil(slice / longest);
    const blocks = count === 0 ? [] : contributors(block);
    return Array.from({ length: count }, (_, index) => ({
      block,
      start: index * longest,
      end: Math.min(slice, (index + 1) * longest),
      blocks,
    }));
  });
}

import { range } from '../range.js';

/** What one part may take. */
export interface PartLimits {
  readonly limit: number;
  /** What a block takes on a part. */
  readonly sizeOf: (block: number, part: number) => number;
}

/**
 * Cuts a list of weights into so many runs, none of them empty, that the heaviest is as light as possible, and among
 * those cuts the one with the least sum of squares. Exact, in parts × length² steps: the best cut of the first n
 * weights into k runs is a best cut of fewer weights into k − 1 runs, and one run more.
 *
 * @returns how many weights each run has, or undefined where no cut keeps the limits
 */
export function lightestParts(
  weights: readonly number[],
  parts: number,
  limits?: PartLimits,
): readonly number[] | undefined {
  const before = sumsOf(weights);
  const weightOf = (start: number, end: number): number => (before[end] ?? 0) - (before[start] ?? 0);
  const fits = fitsWithin(weights.length, parts, limits);
  const heaviest = cheapestCut(weights.length, parts, fits, weightOf, Math.max);
  if (heaviest === undefined) return undefined;
  const isLight: IsAllowed = (start, end, part) =>
    weightOf(start, end) <= heaviest.cost && fits(start, end, part);
  const squareOf = (start: number, end: number): number => weightOf(start, end) ** 2;
  const add = (left: number, right: number): number => left + right;
  return cheapestCut(weights.length, parts, isLight, squareOf, add)?.lengths;
}

type IsAllowed = (start: number, end: number, part: number) => boolean;

interface Cut {
  readonly cost: number;
  readonly lengths: readonly number[];
}

/** The cut into allowed runs whose costs come to least when they are joined. */
function cheapestCut(
  length: number,
  parts: number,
  isAllowed: IsAllowed,
  costOf: (start: number, end: number) => number,
  join: (left: number, right: number) => number,
): Cut | undefined {
  // By how many elements are cut: the best that the parts so far can do.
  let best: readonly (Cut | undefined)[] = [{ cost: 0, lengths: [] }];
  for (const part of range(parts)) {
    best = range(length + 1).map((end) =>
      range(end).reduce<Cut | undefined>((cheapest, start) => {
        const left = best[start];
        if (left === undefined || !isAllowed(start, end, part)) return cheapest;
        const cost = join(left.cost, costOf(start, end));
        if (cheapest !== undefined && cheapest.cost <= cost) return cheapest;
        return { cost, lengths: [...left.lengths, end - start] };
      }, undefined),
    );
  }
  return best[length];
}

function fitsWithin(length: number, parts: number, limits: PartLimits | undefined): IsAllowed {
  if (limits === undefined) return () => true;
  const { limit, sizeOf } = limits;
  const sizes = range(parts).map((part) => sumsOf(range(length).map((block) => sizeOf(block, part))));
  return (start, end, part) => (sizes[part]?.[end] ?? 0) - (sizes[part]?.[start] ?? 0) <= limit;
}

/** The sum of the first 0, 1, 2, … numbers. */
function sumsOf(numbers: readonly number[]): readonly number[] {
  const sums = [0];
  for (const number of numbers) sums.push((sums.at(-1) ?? 0) + number);
  return sums;
}

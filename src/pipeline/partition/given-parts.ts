import { TrainyardError } from '../../base/errors.js';

/** What is written by hand: blocks of each part, or where each begins and where the last one ends. */
type GivenParts =
  | { readonly kind: 'counts'; readonly counts: readonly number[] }
  | { readonly kind: 'boundaries'; readonly boundaries: readonly number[] };

/**
 * How many blocks each part has, of what is written by hand.
 *
 * @throws TrainyardError CONFIG_CONFLICT where it does not fit the model and the pipeline
 */
export function givenParts(
  given: GivenParts,
  blocks: number,
  parts: number,
  where: string,
): readonly number[] {
  const counts = given.kind === 'counts' ? given.counts : differences(given.boundaries);
  const isFromStart = given.kind === 'counts' || given.boundaries[0] === 0;
  const areCounts = counts.every((count) => Number.isInteger(count) && count > 0);
  const sum = counts.reduce((total, count) => total + count, 0);
  if (isFromStart && areCounts && counts.length === parts && sum === blocks) return counts;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'The blocks of the stages, as they are written, are not those of the model.',
    where,
    expected:
      given.kind === 'counts'
        ? `${parts} numbers from 1 on, one for each part, that come to ${blocks} together`
        : `${parts + 1} ascending numbers from 0 to ${blocks}: where each part begins, and the end`,
    got: JSON.stringify(given.kind === 'counts' ? given.counts : given.boundaries),
  });
}

function differences(boundaries: readonly number[]): readonly number[] {
  return boundaries.slice(1).map((end, index) => end - (boundaries[index] ?? 0));
}

import { createPermutation } from './permutation.js';

/** Which sequence stands at a place of the endless stream of samples, counted from 0. */
export interface Sampler {
  indexAt(position: number): number;
}

/**
 * Visits every sequence once an epoch, epoch after epoch without a seam: a batch that reaches past the end of an
 * epoch goes on with the next one, so batches are always full.
 *
 * The order is a pure function of (seed, position); a run is resumed by those two numbers.
 *
 * @param seed of the shuffle; `undefined` keeps the order of the data.
 */
export function createSampler(length: number, seed: number | undefined): Sampler {
  if (seed === undefined) return { indexAt: (position) => position % length };
  let permutedEpoch = -1;
  let permutation = (index: number): number => index;
  return {
    indexAt(position) {
      const epoch = Math.floor(position / length);
      if (epoch !== permutedEpoch) {
        permutation = createPermutation(length, [seed, epoch]);
        permutedEpoch = epoch;
      }
      return permutation(position % length);
    },
  };
}

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createPermutation } from './permutation.js';
import { createSampler } from './sampler.js';

describe('createPermutation', () => {
  it('visits every index once, for any size and key', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3000 }),
        fc.array(fc.maxSafeInteger(), { maxLength: 3 }),
        (size, key) => {
          const permutation = createPermutation(size, key);
          const images = new Set(Array.from({ length: size }, (_, index) => permutation(index)));
          assert.equal(images.size, size);
          assert.ok([...images].every((image) => image >= 0 && image < size));
        },
      ),
      { numRuns: 200 },
    );
  });

  it('differs by key, in its high bits too', () => {
    const order = (...key: number[]): string => {
      const permutation = createPermutation(50, key);
      return Array.from({ length: 50 }, (_, index) => permutation(index)).join();
    };
    const keys = [
      [0, 0],
      [0, 1],
      [1, 0],
      [2 ** 32, 0],
      [2 ** 40, 0],
      [-1, 0],
    ];
    assert.equal(new Set(keys.map((key) => order(...key))).size, keys.length);
  });

  it('sends every index everywhere about equally often', () => {
    // Chi-squared over 7 × 7 cells of 20,000 keys: 48 degrees less the margins leave 36; 80 is past 1 in 30,000.
    const size = 7;
    const draws = 20_000;
    const counts = new Float64Array(size * size);
    for (let key = 0; key < draws; key++) {
      const permutation = createPermutation(size, [key]);
      for (let index = 0; index < size; index++) {
        const cell = index * size + permutation(index);
        counts[cell] = (counts[cell] ?? 0) + 1;
      }
    }
    const expected = draws / size;
    const statistic = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    assert.ok(statistic < 80, `chi-squared ${statistic}`);
  });

  it('leaves neighbours apart', () => {
    const size = 100_000;
    const permutation = createPermutation(size, [3]);
    let kept = 0;
    for (let index = 0; index + 1 < size; index++)
      if (Math.abs(permutation(index + 1) - permutation(index)) === 1) kept++;
    assert.ok(kept < 20, `${kept} neighbours stayed neighbours`);
  });

  it('answers at once for sizes that no table would hold', () => {
    const size = 2 ** 45 + 1;
    const permutation = createPermutation(size, [1]);
    const images = [0, 1, 2, size - 1].map(permutation);
    assert.equal(new Set(images).size, 4);
    assert.ok(images.every((image) => Number.isInteger(image) && image >= 0 && image < size));
  });
});

describe('createSampler', () => {
  it('gives every sequence once an epoch, in another order each, looked up in any order', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 200 }), fc.nat(), (length, seed) => {
        const sampler = createSampler(length, seed);
        const positions = Array.from({ length: 3 * length }, (_, position) => position);
        const indexes = new Map(
          [...positions].reverse().map((position) => [position, sampler.indexAt(position)]),
        );
        for (let epoch = 0; epoch < 3; epoch++) {
          const seen = new Set(
            positions.slice(epoch * length, (epoch + 1) * length).map((position) => indexes.get(position)),
          );
          assert.equal(seen.size, length);
        }
        const again = createSampler(length, seed);
        for (const position of positions) assert.equal(again.indexAt(position), indexes.get(position));
      }),
    );
  });
  it('draws another order for every epoch', () => {
    const sampler = createSampler(50, 3);
    const order = (epoch: number): string =>
      Array.from({ length: 50 }, (_, place) => sampler.indexAt(epoch * 50 + place)).join();
    assert.equal(new Set([0, 1, 2, 3].map(order)).size, 4);
  });
  it('keeps the order of the data without a seed', () => {
    const sampler = createSampler(3, undefined);
    assert.deepEqual([0, 1, 2, 3, 4].map(sampler.indexAt), [0, 1, 2, 0, 1]);
  });
});

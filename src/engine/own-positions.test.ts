import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import type { MicroBatchData } from '../data/batch-source.js';
import { cutBatch } from './batch.js';
import { ownPositions } from './own-positions.js';
import { batchPlace } from './training-data.js';

const VOCABULARY = 11;
const count = fc.integer({ min: 1, max: 4 });

function microBatch(rows: number, length: number): MicroBatchData {
  const inputIds = Array.from({ length: rows }, (_, row) =>
    Array.from({ length }, (__, i) => (7 * row + 3 * i) % VOCABULARY),
  );
  const [data] = cutBatch({ inputIds }, { vocabularySize: VOCABULARY }, rows, 1);
  assert(data);
  return data;
}

test('the parts of all ranks are the whole sequences, every label once', () => {
  fc.assert(
    fc.property(count, count, count, (rows, ranks, perRank) => {
      const whole = microBatch(rows, ranks * perRank + ranks);
      const parts = Array.from({ length: ranks }, (_, rank) => ownPositions(whole, { rank, size: ranks }));
      for (const key of ['inputIds', 'labels'] as const) {
        const joined = Array.from({ length: rows }, (_, row) =>
          parts.flatMap(({ [key]: values, length }) => [
            ...values.subarray(row * length, (row + 1) * length),
          ]),
        );
        assert.deepEqual(joined.flat(), [...whole[key]]);
      }
      assert.equal(
        parts.reduce((sum, { targetTokens }) => sum + targetTokens, 0),
        whole.targetTokens,
      );
    }),
  );
});

test('positions that do not divide are refused', () => {
  assert.throws(
    () => ownPositions(microBatch(2, 5), { rank: 0, size: 2 }),
    (error) => error instanceof TrainyardError && error.code === 'DATA_INVALID',
  );
});

test('neighbours along the data axis take the same rows', () => {
  const places = [0, 1, 2, 3].map((rank) =>
    batchPlace({ sequence_parallel_size: 2 }, { rank, worldSize: 4 }),
  );
  assert.deepEqual(
    places.map(({ rank }) => rank),
    [0, 0, 1, 1],
  );
  assert(places.every(({ worldSize }) => worldSize === 2));
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UserConfig } from '../src/index.js';
import { trainZero } from './train-zero.js';
import type { ZeroOutcome } from './zero-program.js';

/** Three steps of two ranks, in which each parameter would travel alone. */
async function train(communication: UserConfig['communication']): Promise<readonly ZeroOutcome[]> {
  const config: UserConfig = {
    train_batch_size: 4,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    zero_optimization: { reduce_bucket_size: 1 },
    communication: { deterministic: true, ...communication },
  };
  return trainZero(2, config);
}

test('messages that take less than was said are merged, and every bit of the model stays as it was', async () => {
  const apart = await train({});
  // A sum of a thousand elements takes less than a second, and of this model there are no more.
  const merged = await train({ merge_below_ms: 1000 });
  assert.deepEqual(
    [apart, merged].map((outcomes) => outcomes.map(({ messages }) => messages)),
    [
      [4, 4],
      [1, 1],
    ],
  );
  assert.equal(merged[0]?.atEnd, apart[0]?.atEnd);
  // Nothing takes so little.
  const [untouched] = await train({ merge_below_ms: 1e-6 });
  assert.equal(untouched?.messages, 4);
});

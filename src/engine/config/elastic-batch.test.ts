import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { elasticBatch } from './elastic-batch.js';

test('the global batch stays, and micro-batches grow beyond what there was for no number of ranks', () => {
  const size = fc.integer({ min: 1, max: 64 });
  fc.assert(
    fc.property(size, size, size, (rows, micro, ranks) => {
      const batch = elasticBatch({ train_batch_size: rows, train_micro_batch_size_per_gpu: micro }, ranks);
      assert.equal(batch === undefined, rows % ranks !== 0);
      if (batch === undefined) return;
      const { train_micro_batch_size_per_gpu: own, gradient_accumulation_steps: micros } = batch;
      assert.equal(own * micros * ranks, rows);
      assert.ok(own <= micro);
    }),
  );
});

test('three quarters of the ranks take more and smaller micro-batches', () => {
  const before = { train_batch_size: 24, train_micro_batch_size_per_gpu: 3 };
  assert.deepEqual(elasticBatch(before, 4), { ...before, gradient_accumulation_steps: 2 });
  assert.deepEqual(elasticBatch(before, 3), {
    train_batch_size: 24,
    train_micro_batch_size_per_gpu: 2,
    gradient_accumulation_steps: 4,
  });
});

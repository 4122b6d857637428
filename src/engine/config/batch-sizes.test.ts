import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { completeBatchSizes, type GivenBatchSizes, isBatchConflict } from './batch-sizes.js';

const size = fc.integer({ min: 1, max: 40 });

test('any two of the three sizes give the third back', () => {
  fc.assert(
    fc.property(size, size, size, (micro, accumulation, ranks) => {
      const whole: GivenBatchSizes = {
        train_batch_size: micro * accumulation * ranks,
        train_micro_batch_size_per_gpu: micro,
        gradient_accumulation_steps: accumulation,
      };
      const expected = { ...whole, data_parallel_size: ranks };
      assert.deepEqual(completeBatchSizes(whole, ranks), expected);
      for (const left of Object.keys(whole)) {
        assert.deepEqual(
          completeBatchSizes({ ...whole, [left]: undefined }, ranks),
          expected,
          `without ${left}`,
        );
      }
    }),
  );
});

test('accumulation is one where only one size is given', () => {
  const expected = {
    train_batch_size: 12,
    train_micro_batch_size_per_gpu: 4,
    gradient_accumulation_steps: 1,
    data_parallel_size: 3,
  };
  assert.deepEqual(completeBatchSizes({ train_batch_size: 12 }, 3), expected);
  assert.deepEqual(completeBatchSizes({ train_micro_batch_size_per_gpu: 4 }, 3), expected);
});

test('sizes either satisfy the equation or conflict, and every value that a conflict offers fits', () => {
  const maybe = fc.option(size, { nil: undefined });
  fc.assert(
    fc.property(size, maybe, maybe, size, (train, micro, accumulation, ranks) => {
      const given: GivenBatchSizes = {
        train_batch_size: train,
        train_micro_batch_size_per_gpu: micro,
        gradient_accumulation_steps: accumulation,
      };
      const result = completeBatchSizes(given, ranks);
      if (!isBatchConflict(result)) {
        const product = result.train_micro_batch_size_per_gpu * result.gradient_accumulation_steps * ranks;
        assert.equal(product, train);
        assert.ok(Number.isInteger(result.train_micro_batch_size_per_gpu));
        return;
      }
      for (const offered of numbersAfter(result.expected, /train_batch_size (?:a multiple of \d+: )?/)) {
        assert.ok(!isBatchConflict(completeBatchSizes({ ...given, train_batch_size: offered }, ranks)));
      }
      for (const key of ['train_micro_batch_size_per_gpu', 'gradient_accumulation_steps'] as const) {
        for (const offered of numbersAfter(result.cure, new RegExp(`Set ${key} to one of `))) {
          assert.ok(!isBatchConflict(completeBatchSizes({ ...given, [key]: offered }, ranks)), result.cure);
        }
      }
    }),
  );
});

function numbersAfter(text: string, lead: RegExp): readonly number[] {
  const [, list] = text.split(lead);
  return list === undefined ? [] : [...list.matchAll(/\d+/g)].map(([digits]) => Number(digits));
}

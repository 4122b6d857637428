import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { threadBudget } from './threads.js';

test('the cores are shared, and the choice is said', () => {
  assert.deepEqual(threadBudget(2, {}, 2), {
    cores: 2,
    threadsPerRank: 1,
    variables: { OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' },
    summary: '2 ranks × 1 thread (2 cores)',
  });
  assert.equal(threadBudget(1, {}, 7).summary, '1 rank × 7 threads (7 cores)');
  assert.match(threadBudget(4, {}, 2).summary, /4 ranks × 1 thread \(2 cores\), more ranks than cores/);
});

test("a person's own setting is left alone and followed", () => {
  const budget = threadBudget(2, { OMP_NUM_THREADS: '3' }, 8);
  assert.equal(budget.threadsPerRank, 3);
  assert.deepEqual(budget.variables, { MKL_NUM_THREADS: '3' });
  assert.match(budget.summary, /as set in the environment/);
  for (const nonsense of ['', '0', '-1', 'many']) {
    assert.equal(threadBudget(2, { OMP_NUM_THREADS: nonsense }, 8).threadsPerRank, 4);
  }
});

test('no core is given twice while there are enough', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 256 }), (ranks, cores) => {
      const { threadsPerRank } = threadBudget(ranks, {}, cores);
      assert.ok(threadsPerRank >= 1);
      if (ranks <= cores) assert.ok(threadsPerRank * ranks <= cores && (threadsPerRank + 1) * ranks > cores);
    }),
  );
});

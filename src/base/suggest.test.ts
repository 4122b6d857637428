import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { editDistance, nearest } from './suggest.js';

test('a slip of the keyboard finds the name that was meant', () => {
  const names = ['zero_optimization', 'train_batch_size', 'optimizer', 'stage', 'lr', 'seed', 'steps'];
  assert.equal(nearest('zero_optimisation', names), 'zero_optimization');
  assert.equal(nearest('stgae', names), 'stage');
  assert.equal(nearest('trainBatchSize', names), 'train_batch_size');
  assert.equal(nearest('Optimizer', names), 'optimizer');
  assert.equal(nearest('step', names), 'steps');
});

test('a name that resembles nothing gets no suggestion', () => {
  assert.equal(nearest('banana', ['stage', 'lr', 'optimizer']), undefined);
  assert.equal(nearest('x', ['lr']), undefined);
  assert.equal(nearest('anything', []), undefined);
});

test('the edit distance is a metric on short words, and a swap of neighbours costs one', () => {
  const word = fc.string({ maxLength: 8, unit: fc.constantFrom('a', 'b', 'c') });
  assert.equal(editDistance('stage', 'satge'), 1);
  fc.assert(
    fc.property(word, word, (left, right) => {
      const distance = editDistance(left, right);
      assert.equal(distance, editDistance(right, left));
      assert.equal(distance === 0, left === right);
      assert.ok(distance >= Math.abs(left.length - right.length));
      assert.ok(distance <= Math.max(left.length, right.length));
    }),
  );
});

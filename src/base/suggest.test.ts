import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nearest } from './suggest.js';

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

test('one wrong, missing, doubled or swapped letter of a long name is forgiven', () => {
  const names = ['gradient_clipping', 'communication', 'scheduler', 'optimizer', 'train_batch_size'];
  const slips: readonly ((name: string, at: number) => string)[] = [
    (name, at) => `${name.slice(0, at)}x${name.slice(at + 1)}`,
    (name, at) => name.slice(0, at) + name.slice(at + 1),
    (name, at) => name.slice(0, at) + name.charAt(at) + name.slice(at),
    (name, at) => name.slice(0, at) + name.charAt(at + 1) + name.charAt(at) + name.slice(at + 2),
  ];
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.constantFrom(...slips), fc.nat(6), (name, slip, at) => {
      assert.equal(nearest(slip(name, at), names), name);
    }),
  );
});

test('a name among the candidates is its own nearest', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{2,12}$/), { minLength: 1 }), (names) => {
      for (const name of names) assert.equal(nearest(name, names), name);
    }),
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nearestNames, sameNameButForASlip } from './nearest-names.js';

test('a slip of the finger finds the name that was meant', () => {
  const names = ['train_batch_size', 'gradient_clipping', 'optimizer', 'scheduler', 'steps'];
  assert.deepEqual(nearestNames('optimiser', names), ['optimizer']);
  assert.deepEqual(nearestNames('gradient_cliping', names), ['gradient_clipping']);
  assert.deepEqual(nearestNames('setps', names), ['steps']);
  assert.deepEqual(nearestNames('Train_Batch_Size', names), ['train_batch_size']);
});

test('nothing is proposed when nothing is near', () => {
  assert.deepEqual(nearestNames('dashboard', ['optimizer', 'steps']), []);
});

test('the best comes first, and no more than asked for', () => {
  const names = [
    'layers.12.weight',
    'layers.1.weight',
    'layers.1.bias',
    'layers.2.weight',
    'layers.3.weight',
  ];
  assert.deepEqual(nearestNames('layers.1.weigt', names, 2), ['layers.1.weight', 'layers.12.weight']);
});

test('a name of which no letter is right is no suggestion', () => {
  assert.deepEqual(nearestNames('x', ['lr', 'y']), []);
  assert.deepEqual(nearestNames('ab', ['lr']), []);
});

test('a slip is one letter of a short name and two of a long one', () => {
  const names = ['aio', 'fp16', 'offload_optimizer'];
  assert.equal(sameNameButForASlip('foo', names), undefined);
  assert.equal(sameNameButForASlip('fp61', names), 'fp16');
  assert.equal(sameNameButForASlip('ofload_optimiser', names), 'offload_optimizer');
  assert.equal(sameNameButForASlip('offload_optimum', names), undefined);
});

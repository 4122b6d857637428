import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native } from '../native/native.js';
import { AlignedBuffers, alignedZeros } from './aligned-buffers.js';
import { allocatedBytes } from './memory.js';
import { scope } from './tensor.js';

const MEBIBYTE = 2 ** 20;

test('memory begins at a page, is zero, and is counted while it is there', () => {
  const before = allocatedBytes();
  scope(() => {
    for (const elements of [0, 1, 1000, MEBIBYTE, 3 * MEBIBYTE + 5]) {
      const zeros = alignedZeros([elements], 'float32');
      if (elements > 0) assert.equal(native.addressOf(zeros.handle) % 4096n, 0n);
      assert.ok(zeros.toFloat32Array().every((value) => value === 0));
    }
    assert.equal(allocatedBytes() - before, 2 * 4096 + 4 * MEBIBYTE + 12 * MEBIBYTE + 4096);
  });
  assert.equal(allocatedBytes(), before);
});

test('a pool lends what comes back, makes room for other sizes, and keeps its limit', () => {
  const before = allocatedBytes();
  const pool = new AlignedBuffers(3 * MEBIBYTE);
  const first = pool.take(MEBIBYTE, 'uint8');
  pool.give(first);
  assert.equal(pool.take(MEBIBYTE, 'uint8'), first);
  const second = pool.take(MEBIBYTE / 4, 'float32');
  assert.equal(pool.bytes, 2 * MEBIBYTE);
  pool.give(second);
  pool.give(first);
  const large = pool.take(2 * MEBIBYTE, 'uint8');
  assert.equal(pool.bytes, 3 * MEBIBYTE);
  assert.ok(allocatedBytes() - before <= 3 * MEBIBYTE);
  assert.throws(() => pool.take(2 * MEBIBYTE, 'uint8'), /cannot lend/);
  assert.throws(() => pool.give(first), /goes back/);
  pool.give(large);
  pool.dispose();
  assert.equal(allocatedBytes(), before);
});

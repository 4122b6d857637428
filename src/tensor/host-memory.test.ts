import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward, enableGrad } from './autograd.js';
import { tensor } from './create.js';
import { copyToDevice, copyToHost, dropMemory, replaceMemory } from './host-memory.js';
import { allocatedBytes } from './memory.js';
import { scope } from './tensor.js';

test('a copy is other memory laid out alike, without a gradient', () => {
  scope(() => {
    const original = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    original.requiresGrad = true;
    const turned = enableGrad(() => original.t());
    for (const copy of [copyToHost(turned), copyToDevice(copyToHost(turned), 'cpu')]) {
      assert.deepEqual(copy.toArray(), [1, 4, 2, 5, 3, 6]);
      assert.deepEqual(copy.strides, turned.strides);
      assert.ok(!copy.requiresGrad);
      copy.zero_();
    }
    assert.deepEqual(original.toArray(), [1, 2, 3, 4, 5, 6]);
  });
});

test('a tensor without memory keeps its place in the graph, and goes on when it has some again', () => {
  scope(() => {
    const leaf = tensor(Float32Array.from({ length: 1000 }, (_, index) => index / 1000));
    leaf.requiresGrad = true;
    const product = enableGrad(() => leaf.mul(3));
    const copy = copyToHost(product);
    const before = allocatedBytes();
    dropMemory(product);
    assert.equal(before - allocatedBytes(), 4000);
    assert.deepEqual(product.shape, [0]);
    assert.ok(product.requiresGrad);
    replaceMemory(product, copy);
    assert.deepEqual(product.shape, [1000]);
    assert.deepEqual(product.toArray(), copy.toArray());
    backward([enableGrad(() => product.sum())], [null]);
    assert.ok(leaf.grad?.toArray().every((value) => value === 3));
  });
});

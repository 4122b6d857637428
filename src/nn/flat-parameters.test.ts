import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward, noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { liveTensors, scope } from '../tensor/tensor.js';
import { planFlatLayout, TALLY_ELEMENTS } from './flat-layout.js';
import { FlatParameters } from './flat-parameters.js';

const initializer = { kind: 'constant', value: 0 } as const;
const LAYOUT = planFlatLayout(
  [
    {
      name: 'a',
      parameters: [
        { name: 'q', shape: [1, 2], initializer },
        { name: 'k', shape: [2, 2], initializer },
      ],
    },
    {
      name: 'b',
      parameters: [
        { name: 'tied', shape: [1, 2], initializer, tiedTo: 'a.q' },
        { name: 'frozen', shape: [2], initializer },
      ],
    },
  ],
  (name) => name === 'b.frozen',
);

function make(gradients: boolean): FlatParameters {
  return new FlatParameters(LAYOUT, { dtype: 'float32', device: 'cpu', gradients });
}

test('parameters are views of the flat buffers, joined and tied ones included', () => {
  scope(() => {
    const flat = make(true);
    const [a, b] = flat.blocks;
    assert.ok(a && b);
    noGrad(() => flat.values.narrow(0, 0, 6).copy_(tensor([1, 2, 3, 4, 5, 6])));
    assert.deepEqual(a.get('k').value.toArray(), [3, 4, 5, 6]);
    assert.deepEqual(a.joined(['q', 'k']).value.shape, [3, 2]);
    assert.deepEqual(a.joined(['q', 'k']).value.toArray(), [1, 2, 3, 4, 5, 6]);
    assert.equal(b.get('tied'), a.get('q'));
    assert.equal(b.get('frozen').gradient, undefined);
    assert.equal(b.get('frozen').value.requiresGrad, false);
    assert.throws(() => a.joined(['k', 'q']), /"a\.q" does not continue it/);
    assert.deepEqual(
      flat.parameters.map((parameter) => parameter.name),
      ['a.q', 'a.k', 'b.frozen'],
    );
    flat.dispose();
  });
});

test('backward adds to the flat gradient buffer, alone, joined and tied alike', () => {
  scope(() => {
    const flat = make(true);
    const [a, b] = flat.blocks;
    assert.ok(a && b);
    backward([a.get('q').value.mul(2).sum()]);
    backward([a.joined(['q', 'k']).value.mul(10).sum()]);
    backward([b.get('tied').value.mul(100).sum()]);
    const gradients = flat.gradients?.values.toArray().slice(0, 6);
    assert.deepEqual(gradients, [112, 112, 10, 10, 10, 10]);
    assert.equal(flat.gradients?.buffer.elements, LAYOUT.trainableElements + TALLY_ELEMENTS);
    flat.dispose();
  });
});

test('without gradients there is no gradient buffer, and disposing leaves nothing behind', () => {
  const before = liveTensors();
  const flat = make(false);
  assert.equal(flat.gradients, undefined);
  assert.equal(flat.blocks[0]?.joined(['q', 'k']).gradient, undefined);
  flat.dispose();
  assert.equal(liveTensors(), before);
});

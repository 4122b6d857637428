import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { planFlatLayout } from './flat-layout.js';

const initializer = { kind: 'constant', value: 0 } as const;

function block(name: string, ...parameters: readonly (readonly [string, readonly number[], string?])[]) {
  return {
    name,
    parameters: parameters.map(([parameter, shape, tiedTo]) => ({
      name: parameter,
      shape,
      initializer,
      ...(tiedTo !== undefined && { tiedTo }),
    })),
  };
}

test('parameters lie end to end inside a block, and blocks start on 16 elements', () => {
  const layout = planFlatLayout([
    block('a', ['q', [3, 2]], ['k', [1, 2]]),
    block('b', ['v', [5]]),
    block('', ['lm_head', [3, 2], 'a.q'], ['norm', [2]]),
  ]);
  const places = layout.blocks
    .flat()
    .map(({ name, owner, offset, elements }) => [name, owner, offset, elements]);
  assert.deepEqual(places, [
    ['a.q', 'a.q', 0, 6],
    ['a.k', 'a.k', 6, 2],
    ['b.v', 'b.v', 16, 5],
    ['lm_head', 'a.q', 0, 6],
    ['norm', 'norm', 32, 2],
  ]);
  assert.equal(layout.trainableElements, 48);
  assert.equal(layout.frozenElements, 0);
});

test('a tie may point to a later block, and a tied parameter is frozen with its owner', () => {
  const layout = planFlatLayout(
    [block('a', ['x', [4], 'b.y']), block('b', ['y', [4]])],
    (name) => name === 'b.y',
  );
  assert.deepEqual(
    layout.blocks.flat().map(({ name, trainable, offset }) => [name, trainable, offset]),
    [
      ['a.x', false, 0],
      ['b.y', false, 0],
    ],
  );
  assert.deepEqual([layout.trainableElements, layout.frozenElements], [0, 16]);
});

test('owners of memory never overlap and cover their buffer but for padding', () => {
  const models = fc.array(fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 4 }), { maxLength: 6 });
  fc.assert(
    fc.property(models, fc.func(fc.boolean()), (sizes, isFrozen) => {
      const layout = planFlatLayout(
        sizes.map((blockSizes, index) =>
          block(`b${index}`, ...blockSizes.map((size, position) => [`p${position}`, [size]] as const)),
        ),
        isFrozen,
      );
      for (const trainable of [true, false]) {
        const length = trainable ? layout.trainableElements : layout.frozenElements;
        let end = 0;
        for (const slot of layout.blocks.flat().filter((each) => each.trainable === trainable)) {
          assert.ok(slot.offset >= end && slot.offset - end < 16);
          end = slot.offset + slot.elements;
        }
        assert.ok(end <= length && length - end < 16);
      }
    }),
  );
});

test('refuses names and ties that contradict each other', () => {
  const cases = [
    [[block('a', ['x', [1]]), block('a', ['x', [1]])], /Two parameters are called "a\.x"/],
    [[block('a', ['x', [1], 'a.y'])], /tied to "a\.y", which owns no memory/],
    [[block('a', ['x', [1]], ['y', [1], 'a.x'], ['z', [1], 'a.y'])], /tied to "a\.y", which owns no memory/],
    [[block('a', ['x', [2, 3]], ['y', [3, 2], 'a.x'])], /another shape[\s\S]*\[2, 3\][\s\S]*\[3, 2\]/],
  ] as const;
  for (const [blocks, message] of cases) {
    assert.throws(
      () => planFlatLayout(blocks),
      (error) => {
        assert.ok(error instanceof TrainyardError && error.code === 'MODEL_INVALID');
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { planTurns, type ScheduleName } from './schedule.js';
import type { PipelineShape, Turn } from './schedules/turn.js';

/** "F0 B0" for one chunk, "F0.1" for micro-batch 0 of chunk 1; I and W are the halves of a backward. */
function textOf(name: ScheduleName, shape: PipelineShape): string {
  const letters = { forward: 'F', backward: 'B', 'backward-input': 'I', 'backward-weights': 'W' } as const;
  return planTurns(name, shape)
    .map(({ kind, chunk, micro }) => `${letters[kind]}${micro}${shape.chunks === 1 ? '' : `.${chunk}`}`)
    .join(' ');
}

test('gpipe goes all the way forward, then all the way back', () => {
  const shape = { stages: 3, chunks: 1, microBatches: 3, stage: 1 };
  assert.equal(textOf('gpipe', shape), 'F0 F1 F2 B0 B1 B2');
});

test('1f1b runs as far ahead as there are stages behind', () => {
  const shape = { stages: 3, chunks: 1, microBatches: 4 };
  assert.equal(textOf('1f1b', { ...shape, stage: 0 }), 'F0 F1 F2 B0 F3 B1 B2 B3');
  assert.equal(textOf('1f1b', { ...shape, stage: 1 }), 'F0 F1 B0 F2 B1 F3 B2 B3');
  assert.equal(textOf('1f1b', { ...shape, stage: 2 }), 'F0 B0 F1 B1 F2 B2 F3 B3');
  assert.equal(textOf('1f1b', { ...shape, stage: 0, microBatches: 1 }), 'F0 B0');
});

test('interleaved takes a group of micro-batches through one chunk after the other', () => {
  const shape = { stages: 2, chunks: 2, microBatches: 4 };
  assert.equal(
    textOf('interleaved', { ...shape, stage: 0 }),
    'F0.0 F1.0 F0.1 F1.1 F2.0 B0.1 F3.0 B1.1 F2.1 B0.0 F3.1 B1.0 B2.1 B3.1 B2.0 B3.0',
  );
  assert.equal(
    textOf('interleaved', { ...shape, stage: 1 }),
    'F0.0 F1.0 F0.1 B0.1 F1.1 B1.1 F2.0 B0.0 F3.0 B1.0 F2.1 B2.1 F3.1 B3.1 B2.0 B3.0',
  );
});

test('interleaved leaves out what is too much where the stages do not divide the micro-batches', () => {
  const shape = { stages: 2, chunks: 2, microBatches: 3, stage: 1 };
  assert.equal(textOf('interleaved', shape), 'F0.0 F1.0 F0.1 B0.1 F1.1 B1.1 F2.0 B0.0 B1.0 F2.1 B2.1 B2.0');
});

test('zero-bubble puts the products for weights off by the number of the stage', () => {
  const shape = { stages: 3, chunks: 1, microBatches: 4 };
  assert.equal(textOf('zero-bubble', { ...shape, stage: 0 }), 'F0 F1 F2 B0 F3 B1 B2 B3');
  assert.equal(textOf('zero-bubble', { ...shape, stage: 1 }), 'F0 F1 I0 F2 I1 W0 F3 I2 W1 I3 W2 W3');
  assert.equal(textOf('zero-bubble', { ...shape, stage: 2 }), 'F0 I0 F1 I1 F2 I2 W0 F3 I3 W1 W2 W3');
});

test('every chunk goes forward and then back once for each micro-batch', () => {
  const shapes = fc
    .record({
      name: fc.constantFrom<ScheduleName>('gpipe', '1f1b', 'interleaved', 'zero-bubble'),
      stages: fc.integer({ min: 1, max: 12 }),
      chunks: fc.integer({ min: 1, max: 5 }),
      microBatches: fc.integer({ min: 1, max: 40 }),
      stage: fc.nat(),
    })
    .map(({ name, ...shape }) => ({
      name,
      shape: {
        ...shape,
        chunks: name === 'interleaved' ? shape.chunks : 1,
        stage: shape.stage % shape.stages,
      },
    }));
  fc.assert(
    fc.property(shapes, ({ name, shape }) => {
      const turns = planTurns(name, shape);
      const done = new Map<string, readonly Turn['kind'][]>();
      for (const { kind, chunk, micro } of turns) {
        done.set(`${chunk} ${micro}`, [...(done.get(`${chunk} ${micro}`) ?? []), kind]);
      }
      assert.equal(done.size, shape.chunks * shape.microBatches);
      for (const kinds of done.values()) {
        assert.ok(['forward backward', 'forward backward-input backward-weights'].includes(kinds.join(' ')));
      }
    }),
  );
});

test('only interleaved takes several chunks', () => {
  assert.throws(
    () => planTurns('1f1b', { stages: 2, chunks: 2, microBatches: 2, stage: 0 }),
    /1f1b has one chunk/,
  );
});

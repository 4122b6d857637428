import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FlatSlot } from '../nn/flat-layout.js';
import { emptyProgram } from '../step/empty-program.js';
import { instructionText } from '../step/instruction-text.js';
import { schedule } from '../step/passes/schedule.js';
import { bucketElements, type Program, type ProgramBlock } from '../step/program.js';
import { assignBuckets } from './buckets.js';
import { reduceGradients } from './reduce-gradients.js';

function slot(name: string, offset: number, elements: number, owner = name): FlatSlot {
  return { name, localName: name, owner, trainable: true, offset, elements, shape: [elements] };
}

function block(...parameters: readonly FlatSlot[]): ProgramBlock {
  return { name: 'block', parameters, activationBytes: 0, outputBytes: 0 };
}

const EMBEDDING = slot('embedding', 0, 64);
const TIED = [
  block(EMBEDDING),
  block(slot('query', 64, 16), slot('key', 80, 16)),
  block(slot('norm', 96, 4), slot('head', 0, 64, 'embedding')),
];

function program(microBatches: number, ranks: number, overlap: boolean, bucket: number): Program {
  const base: Program = emptyProgram({
    worldSize: ranks,
    microBatches,
    blocks: TIED,
    trainableElements: 112,
  });
  return reduceGradients({ bucketElements: bucket, overlap })(schedule({})(base));
}

test('buckets are filled from the end of the buffer, and padding goes with the parameter before it', () => {
  const [first, second, third] = assignBuckets(TIED, 112, 32);
  assert.deepEqual(first, {
    start: 80,
    end: 112,
    parameters: ['key', 'norm'],
    blocks: [1, 2],
    carriesTally: true,
  });
  assert.deepEqual([second?.parameters, second?.blocks, second?.carriesTally], [['query'], [1], false]);
  assert.deepEqual([third?.parameters, third?.blocks], [['embedding'], [0, 2]]);
  assert.deepEqual(
    [first, second, third].map((bucket) => bucket && bucketElements(bucket)),
    [35, 16, 64],
  );
});

test('buckets cover the buffer once, and only a parameter alone may exceed their size', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 200 }), fc.nat(15), (elements, limit, padding) => {
      let end = 0;
      const blocks = elements.map((size, index) => {
        const parameter = slot(`p${index}`, end, size);
        end += size;
        return block(parameter);
      });
      const buckets = assignBuckets(blocks, end + padding, limit);
      let expectedEnd = end + padding;
      for (const bucket of buckets) {
        assert.equal(bucket.end, expectedEnd);
        assert.ok(bucket.end - bucket.start <= limit || bucket.parameters.length === 1);
        expectedEnd = bucket.start;
      }
      assert.equal(expectedEnd, 0);
    }),
  );
});

test('no bucket but the last is shorter than the least, and none grows beyond what that asks for', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 100 }), fc.nat(150), (elements, limit, least) => {
      let end = 0;
      const blocks = elements.map((size, index) => {
        const parameter = slot(`p${index}`, end, size);
        end += size;
        return block(parameter);
      });
      const buckets = assignBuckets(blocks, end, limit, least);
      for (const [index, bucket] of buckets.entries()) {
        const { length = 0 } = bucket.parameters;
        const last = blocks.at(Number(bucket.parameters[0]?.slice(1)))?.parameters[0]?.elements ?? 0;
        assert.ok(index === buckets.length - 1 || bucket.end - bucket.start >= least);
        // Without the parameter that came last it was too long to stay open for it only if it was too short to be closed.
        const before = bucket.end - bucket.start - last;
        assert.ok(length === 1 || bucket.end - bucket.start <= limit || before < least);
      }
    }),
  );
});

test('with overlap each reduction follows the last backward that adds to its bucket', () => {
  const text = program(2, 4, true, 32).instructions.map(instructionText);
  assert.deepEqual(text.slice(text.indexOf('backward block.2 micro 1')), [
    'backward block.2 micro 1',
    'backward block.1 micro 1',
    'reduce bucket.0 start',
    'reduce bucket.1 start',
    'backward block.0 micro 1',
    'reduce bucket.2 start',
    'wait reduce bucket.0',
    'wait reduce bucket.1',
    'wait reduce bucket.2',
    'clip none',
    'step',
  ]);
  assert.equal(text.filter((line) => line.startsWith('reduce')).length, 3);
});

test('without overlap nothing starts before the last backward', () => {
  const text = program(1, 2, false, 32).instructions.map(instructionText);
  const lastBackward = text.lastIndexOf('backward block.0 micro 0');
  assert.equal(
    text.findIndex((line) => line.startsWith('reduce')),
    lastBackward + 1,
  );
});

test('a single rank reduces nothing', () => {
  const alone = program(2, 1, true, 32);
  assert.deepEqual(alone.buckets, []);
  assert.ok(!alone.instructions.some(({ op }) => op === 'reduce' || op === 'wait'));
});

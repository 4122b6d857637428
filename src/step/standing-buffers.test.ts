import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instruction } from './instruction.js';
import type { Program, ProgramBlock } from './program.js';
import { standingBuffers } from './standing-buffers.js';

const SIZES = [64, 16, 32];

/** A program that divides parameters and gradients over two ranks; its parts are the blocks' whole slices. */
function program(instructions: readonly Instruction[]): Program {
  const starts = SIZES.map((_, index) => SIZES.slice(0, index).reduce((sum, size) => sum + size, 0));
  const ranges = SIZES.map((size, index) => ({
    start: starts[index] ?? 0,
    end: (starts[index] ?? 0) + size,
  }));
  return {
    rank: 0,
    worldSize: 2,
    goal: 'update',
    features: [],
    microBatches: 1,
    blocks: SIZES.map(
      (_, index): ProgramBlock => ({
        name: `b${index}`,
        parameters: [],
        activationBytes: 0,
        outputBytes: 0,
      }),
    ),
    trainableElements: 112,
    bytesPerElement: 4,
    batchBytes: 0,
    optimizerBytes: 0,
    groups: { data: [0, 1] },
    buckets: SIZES.map((_, index) => ({
      ...(ranges[index] ?? { start: 0, end: 0 }),
      parameters: [],
      blocks: [index],
      carriesTally: false,
    })),
    sharding: {
      ranges,
      parameters: 'released',
      gradients: 'released',
      reductions: 'every step',
      parts: SIZES.map((size, block) => ({ block, start: 0, end: size / 2, blocks: [block] })),
    },
    instructions,
  };
}

const gather = (block: number): Instruction<'gather'> => ({ op: 'gather', block });
const prepare = (block: number): Instruction => ({ op: 'prepare', block });
const scatter = (part: number): Instruction<'scatter'> => ({ op: 'scatter', part });
const wait = (started: Instruction<'gather' | 'scatter'>): Instruction => ({ op: 'wait', started });
const release = (block: number, memory: 'parameters' | 'gradients'): Instruction => ({
  op: 'release',
  block,
  memory,
});

function bytesOf(...instructions: readonly Instruction[]): readonly (readonly [string, number])[] {
  return standingBuffers(program(instructions)).map(({ memory }) => [
    memory?.account ?? '',
    memory?.bytes ?? 0,
  ]);
}

test('a program that takes no buffers has none standing', () => {
  assert.deepEqual(bytesOf({ op: 'clear' }), []);
});

test('blocks that come one after the other share a buffer as long as the longest', () => {
  const one = (block: number) => [gather(block), wait(gather(block)), release(block, 'parameters')];
  assert.deepEqual(bytesOf(...one(1), ...one(0), ...one(2)), [['gathered', 4 * 64]]);
});

test('blocks that are there together have one each', () => {
  assert.deepEqual(
    bytesOf(gather(0), gather(1), wait(gather(0)), release(0, 'parameters'), release(1, 'parameters')),
    [['gathered', 4 * (64 + 16)]],
  );
});

test('gradients take what parameters have left, and a buffer of their own beside them', () => {
  assert.deepEqual(
    bytesOf(gather(0), wait(gather(0)), release(0, 'parameters'), prepare(2), release(2, 'gradients')),
    [['gathered', 4 * 64]],
  );
  assert.deepEqual(
    bytesOf(gather(0), wait(gather(0)), prepare(2), release(0, 'parameters'), release(2, 'gradients')),
    [
      ['gathered', 4 * 64],
      ['gradients', 4 * 32],
    ],
  );
});

test('there are as many messages as are ever on their way, each as long as the longest', () => {
  assert.deepEqual(bytesOf(scatter(1), wait(scatter(1)), scatter(0), wait(scatter(0))), [
    ['buckets', 4 * 32],
  ]);
  assert.deepEqual(bytesOf(scatter(1), scatter(0), wait(scatter(1)), scatter(2), wait(scatter(0))), [
    ['buckets', 2 * 4 * 32],
  ]);
});

/** A sum that holds so many messages in each of its stages. */
const reduce = (bucket: number, held: readonly number[]): Instruction<'reduce'> => ({
  op: 'reduce',
  bucket,
  stages: { algorithm: 'ring', elements: 8, held },
});
const waitFor = (started: Instruction<'reduce'>): Instruction => ({ op: 'wait', started });

test('a sum that goes in stages holds what it does in each, and every later start takes it a stage further', () => {
  const [first, second, third] = [reduce(0, [2, 3, 1]), reduce(1, [2, 1, 1]), reduce(2, [2, 1, 0])];
  assert.deepEqual(bytesOf(first, waitFor(first)), [['buckets', 3 * 4 * 8]]);
  // 2; 3 and 2; 1, 1 and 2.
  assert.deepEqual(bytesOf(first, second, third, ...[first, second, third].map(waitFor)), [
    ['buckets', 5 * 4 * 8],
  ]);
  // A wait ends it.
  assert.deepEqual(bytesOf(third, waitFor(third), second, waitFor(second)), [['buckets', 2 * 4 * 8]]);
});

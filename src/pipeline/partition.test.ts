import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { chunksOfStage, type PartitionedBlock, type PartitionMethod, partitionBlocks } from './partition.js';

const WHERE = 'pipeline.partition';

function block(name: string, elements = 1, rest: Partial<PartitionedBlock> = {}): PartitionedBlock {
  return { name, trainableElements: elements, ...rest };
}

/** An embedding, five layers and a head. */
const MODEL: readonly PartitionedBlock[] = [
  block('model.embed_tokens', 100),
  ...[0, 1, 2, 3, 4].map((layer) => block(`model.layers.${layer}`, 30, { kind: 'DecoderLayer' })),
  block('lm_head', 100),
];

function counts(method: PartitionMethod, parts: number, blocks = MODEL): readonly number[] {
  return partitionBlocks(method, blocks, parts, WHERE).map(({ start, end }) => end - start);
}

function refused(method: PartitionMethod, parts: number, code: string, ...texts: readonly RegExp[]): void {
  assert.throws(
    () => partitionBlocks(method, MODEL, parts, WHERE),
    (error) => {
      assert.ok(error instanceof TrainyardError && error.code === code, String(error));
      for (const text of [/pipeline\.partition/, ...texts]) assert.match(error.message, text);
      return true;
    },
  );
}

test('uniform gives what is left over to the first parts', () => {
  assert.deepEqual(counts({ kind: 'uniform' }, 3), [3, 2, 2]);
  assert.deepEqual(counts({ kind: 'uniform' }, 7), [1, 1, 1, 1, 1, 1, 1]);
});

test('parameters weighs what is trained', () => {
  assert.deepEqual(counts({ kind: 'parameters' }, 2), [3, 4]);
  assert.deepEqual(counts({ kind: 'parameters' }, 3), [1, 4, 2]);
});

test('type counts the blocks that match', () => {
  // Embedding and head weigh nothing, and go with their neighbours.
  assert.deepEqual(counts({ kind: 'type', pattern: 'decoderlayer' }, 5), [2, 1, 1, 1, 2]);
  const cut = counts({ kind: 'type', pattern: 'layers\\.[0-3]$' }, 2);
  assert.equal(cut[0], 3);
  refused({ kind: 'type', pattern: 'attention' }, 2, 'CONFIG_CONFLICT', /DecoderLayer/, /attention/);
  refused({ kind: 'type', pattern: '(' }, 2, 'CONFIG_INVALID', /not a regular expression/);
});

test('parts can be given by hand', () => {
  assert.deepEqual(counts({ kind: 'counts', counts: [2, 5] }, 2), [2, 5]);
  assert.deepEqual(counts({ kind: 'boundaries', boundaries: [0, 3, 4, 7] }, 3), [3, 1, 3]);
  refused({ kind: 'counts', counts: [2, 4] }, 2, 'CONFIG_CONFLICT', /come to 7 together/, /\[2,4\]/);
  refused({ kind: 'counts', counts: [7, 0] }, 2, 'CONFIG_CONFLICT', /from 1 on/);
  refused({ kind: 'counts', counts: [7] }, 2, 'CONFIG_CONFLICT', /2 numbers/);
  refused({ kind: 'boundaries', boundaries: [1, 3, 7] }, 2, 'CONFIG_CONFLICT', /from 0 to 7/);
  refused({ kind: 'boundaries', boundaries: [0, 3, 3, 7] }, 3, 'CONFIG_CONFLICT', /ascending/);
});

test('a model cannot be cut into more parts than it has blocks', () => {
  refused({ kind: 'uniform' }, 8, 'CONFIG_CONFLICT', /at most 7 parts/);
});

const profiles = fc
  .record({
    times: fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 9 }),
    sizes: fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 9, maxLength: 9 }),
    parts: fc.integer({ min: 1, max: 5 }),
    limitBytes: fc.option(fc.integer({ min: 0, max: 400 }), { nil: Number.POSITIVE_INFINITY }),
  })
  .filter(({ times, parts }) => times.length >= parts);

test('profile finds the smallest possible slowest part within the limit, as trying everything does', () => {
  const outcomes = { fits: 0, not: 0 };
  fc.assert(
    fc.property(profiles, ({ times, sizes, parts, limitBytes }) => {
      const timeOf = (index: number): number => times[index] ?? 0;
      // Earlier stages keep more micro-batches.
      const bytesOf = (index: number, part: number): number => (sizes[index] ?? 0) * (parts - part);
      const blocks = times.map((milliseconds, index) =>
        block(`b${index}`, 1, { milliseconds, bytes: (part) => bytesOf(index, part) }),
      );
      const slowest = (cut: readonly number[]): number => Math.max(...sumsOf(cut, timeOf));
      const fits = (cut: readonly number[]): boolean =>
        sumsOf(cut, bytesOf).every((size) => size <= limitBytes);
      const possible = allCuts(times.length, parts).filter(fits);
      const method: PartitionMethod = { kind: 'profile', limitBytes };
      if (possible.length === 0) {
        outcomes.not += 1;
        assert.throws(() => partitionBlocks(method, blocks, parts, WHERE), /fits the memory limit/);
        return;
      }
      outcomes.fits += 1;
      const cut = counts(method, parts, blocks);
      assert.ok(fits(cut));
      assert.equal(slowest(cut), Math.min(...possible.map(slowest)));
    }),
    { numRuns: 500 },
  );
  assert.ok(outcomes.fits > 50 && outcomes.not > 10, JSON.stringify(outcomes));
});

/** All ways to cut a list of this length into so many runs. */
function allCuts(length: number, parts: number): readonly (readonly number[])[] {
  if (parts === 1) return length > 0 ? [[length]] : [];
  return Array.from({ length: Math.max(0, length - 1) }, (_, index) => index + 1).flatMap((first) =>
    allCuts(length - first, parts - 1).map((rest) => [first, ...rest]),
  );
}

/** Of every run. */
function sumsOf(cut: readonly number[], of: (index: number, part: number) => number): readonly number[] {
  let start = 0;
  return cut.map((length, part) => {
    let sum = 0;
    for (let index = start; index < start + length; index += 1) sum += of(index, part);
    start += length;
    return sum;
  });
}

test('runs go round the stages, so that each has its chunks in the order of the model', () => {
  const runs = partitionBlocks({ kind: 'counts', counts: [1, 2, 1, 3] }, MODEL, 4, WHERE);
  assert.deepEqual(chunksOfStage(runs, 2, 0), [[0], [3]]);
  assert.deepEqual(chunksOfStage(runs, 2, 1), [
    [1, 2],
    [4, 5, 6],
  ]);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ActiveCompression } from '../comm/config.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { checkPrograms } from '../step/checker.js';
import { compressedAllReduce } from '../step/compressed-messages.js';
import { emptyProgram, laidOut } from '../step/empty-program.js';
import { schedule } from '../step/passes/schedule.js';
import { printProgram } from '../step/print.js';
import type { Pass, Program } from '../step/program.js';
import { compressReductions } from './compress-reductions.js';
import { gatherParameters } from './gather-parameters.js';
import { reduceGradients } from './reduce-gradients.js';
import { scatterGradients } from './scatter-gradients.js';
import { shardState } from './shard-state.js';

const SEQUENCE_LENGTH = 100;

interface Setting {
  readonly ranks: number;
  readonly stage?: 0 | 1 | 2;
  readonly sizes?: readonly number[];
}

/** Blocks of so many values, of which 64 fill a bucket. */
function programs(
  compression: ActiveCompression | undefined,
  { ranks, stage = 0, sizes = [32, 64] }: Setting,
): readonly Program[] {
  const initializer = { kind: 'constant', value: 0 } as const;
  const blocks = sizes.map((size, index) => ({
    name: `b${index}`,
    parameters: [{ name: 'weight', shape: [size], initializer }],
  }));
  const layout = planFlatLayout(blocks, undefined, ranks);
  const gradients = { bucketElements: 64, overlap: true };
  const dataParallel: readonly Pass[] =
    stage === 0
      ? [reduceGradients(gradients)]
      : [
          shardState({ ...gradients, stage, ranges: layout.ranges, sameOrder: false }),
          scatterGradients,
          gatherParameters({
            overlap: true,
            persistenceThreshold: 0,
            prefetchElements: 0,
            mostPersistentElements: 0,
            mostReuseDistance: 0,
            mostLiveElements: 1,
          }),
        ];
  const passes = [
    schedule({}),
    ...dataParallel,
    ...(compression === undefined
      ? []
      : [compressReductions({ compression, sequenceLength: SEQUENCE_LENGTH })]),
  ];
  return Array.from({ length: ranks }, (_, rank) => {
    const base: Program = emptyProgram({
      rank,
      worldSize: ranks,
      goal: 'gradients',
      ...laidOut(blocks, layout),
    });
    return passes.reduce((program, pass) => pass(program), base);
  });
}

function text([program]: readonly Program[]): string {
  assert.ok(program);
  return printProgram(program);
}

test('a program of one rank stays as it is', () => {
  assert.equal(text(programs({ type: 'fp16' }, { ranks: 1 })), text(programs(undefined, { ranks: 1 })));
});

test('a compressed program says so, sends half the bytes and the tally as it is', () => {
  const compressed = programs({ type: 'fp16-dynamic' }, { ranks: 2 });
  const [report] = checkPrograms(compressed);
  assert.match(text(compressed), /data parallel 2 · gradients in fp16 dynamic\n/);
  assert.match(text(compressed), /reduce +bucket\.0 +start +\(all-reduce, 67 elements, fp16 dynamic\)/);
  assert.match(text(compressed), /reduce +bucket\.1 +start +\(all-reduce, 32 elements, fp16 dynamic\)/);
  // Each bucket's maximum travels in fp32 too.
  const bytes = 96 * 2 + 3 * 4 + 2 * 4;
  assert.equal(report?.collectives[0]?.sentBytes, bytes);
  const [plain] = checkPrograms(programs({ type: 'bf16' }, { ranks: 2 }));
  assert.equal(plain?.collectives[0]?.sentBytes, bytes - 8);
  // The first bucket's values in 16 bits, and what both ranks say of a chunk; the second still waits for its maximum. When that is
  // as far, the first has only its sums left.
  assert.equal(report?.peak.ledger.buckets, (64 + 2 * 32) * 2);
  // Without a maximum, what is behind the first has its messages when the first has its sums.
  assert.equal(plain?.peak.ledger.buckets, (64 + 2 * 32) * 2);
});

test('every rank sends as much as one with the largest chunk does', () => {
  // 16 values for 3 ranks: 5, 5 and 6.
  const bucket = { start: 100, end: 116, carriesTally: true };
  const { sentBytes } = compressedAllReduce(bucket, { type: 'fp16' }, 3);
  assert.equal(sentBytes, 2 * 2 * 6 * 2 + 2 * 12);
});

test('at every stage of ZeRO reduce-scatters are compressed and all-gathers are not', () => {
  for (const stage of [1, 2] as const) {
    const compressed = programs({ type: 'fp16-dynamic' }, { ranks: 2, stage });
    const [report] = checkPrograms(compressed);
    assert.match(text(compressed), /ZeRO \d · gradients in fp16 dynamic\n/);
    assert.match(
      text(compressed),
      /scatter +part\.1( micro 0)? +start +\(reduce-scatter, 64 elements, fp16 dynamic\)/,
    );
    const scatters = report?.collectives.find(({ kind }) => kind === 'reduce-scatter');
    assert.equal(scatters?.sentBytes, (96 / 2) * 2 + 2 * 4);
    const gathers = report?.collectives.find(({ kind }) => kind === 'all-gather');
    assert.equal(gathers?.sentBytes, (96 / 2) * 4 + 4 * 8);
    // The larger part's values in 16 bits, and what both ranks say of the own slices; the other waits for its maximum.
    assert.equal(report?.peak.ledger.buckets, (64 + 2 * 32) * 2);
  }
});

test('ranks whose messages would differ are refused', () => {
  for (const [ours, theirs] of [
    [{ type: 'fp16' }, { type: 'bf16' }],
    [
      { type: 'fp16-static', scale: 2 ** 16 },
      { type: 'fp16-static', scale: 2 ** 24 },
    ],
  ] as const) {
    const [first] = programs(ours, { ranks: 2 });
    const [, second] = programs(theirs, { ranks: 2 });
    assert.ok(first && second);
    assert.throws(() => checkPrograms([first, second]), /reduce bucket\.0/);
  }
});

test('a static scale is meant for the mean loss of a token, and stays a power of two', () => {
  for (const stage of [0, 1] as const) {
    const [program] = programs({ type: 'fp16-static', scale: 2 ** 24 }, { ranks: 2, stage });
    const reduction = program?.instructions.find(({ op }) => op === 'reduce' || op === 'scatter');
    assert.ok(reduction?.op === 'reduce' || reduction?.op === 'scatter');
    assert.deepEqual(reduction.compression, { type: 'fp16-static', scale: 2 ** 24 / 128 });
    assert.match(text([program as Program]), /fp16 static × 131072\)/);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Compression } from '../comm/config.js';
import { checkPrograms } from '../step/checker.js';
import { schedule } from '../step/passes/schedule.js';
import { printProgram } from '../step/print.js';
import type { Program } from '../step/program.js';
import { compressReductions } from './compress-reductions.js';
import { reduceGradients } from './reduce-gradients.js';

const SEQUENCE_LENGTH = 100;

/** Two blocks of 32 and 64 values, a bucket each. */
function programs(compression: Compression, ranks: number): readonly Program[] {
  const slot = (name: string, offset: number, elements: number) =>
    ({ name, localName: name, owner: name, trainable: true, offset, elements, shape: [elements] }) as const;
  return Array.from({ length: ranks }, (_, rank) => {
    const base: Program = {
      rank,
      worldSize: ranks,
      goal: 'update',
      features: [],
      microBatches: 1,
      blocks: [slot('first', 0, 32), slot('second', 32, 64)].map((parameter) => ({
        name: parameter.name,
        parameters: [parameter],
        activationBytes: 0,
        outputBytes: 0,
      })),
      trainableElements: 96,
      bytesPerElement: 4,
      batchBytes: 0,
      optimizerBytes: 0,
      groups: { data: Array.from({ length: ranks }, (__, other) => other) },
      buckets: [],
      instructions: [],
    };
    const passes = [
      schedule({}),
      reduceGradients({ bucketElements: 64, overlap: true }),
      compressReductions({ compression, sequenceLength: SEQUENCE_LENGTH }),
    ];
    return passes.reduce((program, pass) => pass(program), base);
  });
}

test('without compression, and on one rank, a program stays as it is', () => {
  const [plain] = programs({ type: 'none' }, 2);
  assert.ok(plain);
  assert.doesNotMatch(printProgram(plain), /fp16|bf16/);
  const [alone] = programs({ type: 'fp16' }, 1);
  assert.ok(alone);
  assert.doesNotMatch(printProgram(alone), /fp16/);
});

test('a compressed program says so, sends half the bytes and the tally as it is', () => {
  const compressed = programs({ type: 'fp16-dynamic' }, 2);
  const [report] = checkPrograms(compressed);
  const text = printProgram(compressed[0] as Program);
  assert.match(text, /data parallel 2 · gradients in fp16 dynamic\n/);
  assert.match(text, /reduce +bucket\.0 +start +\(all-reduce, 67 elements, fp16 dynamic\)/);
  assert.match(text, /reduce +bucket\.1 +start +\(all-reduce, 32 elements, fp16 dynamic\)/);
  // Each bucket's maximum travels in fp32 too.
  const bytes = 96 * 2 + 3 * 4 + 2 * 4;
  assert.equal(report?.collectives[0]?.sentBytes, bytes);
  assert.equal(checkPrograms(programs({ type: 'bf16' }, 2))[0]?.collectives[0]?.sentBytes, bytes - 8);
  // Both messages are under way at the end: 96 values in 16 bits, and a chunk of each bucket.
  assert.equal(report?.peak.ledger.buckets, (96 + 32 + 16) * 2);
});

test('ranks whose messages would differ are refused', () => {
  const [first] = programs({ type: 'fp16' }, 2);
  const [, second] = programs({ type: 'bf16' }, 2);
  assert.ok(first && second);
  assert.throws(() => checkPrograms([first, second]), /reduce bucket\.0/);
});

test('a static scale is meant for the mean loss of a token, and stays a power of two', () => {
  const [program] = programs({ type: 'fp16-static', scale: 2 ** 24 }, 2);
  const reduction = program?.instructions.find((instruction) => instruction.op === 'reduce');
  assert.deepEqual(reduction?.compression, { type: 'fp16-static', scale: 2 ** 24 / 128 });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { checkPrograms } from './checker.js';
import type { Instruction } from './instruction.js';
import type { Program } from './program.js';

const TWO_BLOCKS: Program = {
  rank: 1,
  worldSize: 2,
  goal: 'update',
  features: [],
  microBatches: 1,
  blocks: [
    {
      name: 'embedding',
      parameters: [slot('embedding.weight', 0, 32)],
      activationBytes: 1000,
      outputBytes: 40,
    },
    { name: 'head', parameters: [slot('head.weight', 32, 16)], activationBytes: 500, outputBytes: 4 },
  ],
  trainableElements: 48,
  bytesPerElement: 4,
  batchBytes: 8,
  optimizerBytes: 384,
  groups: { data: [0, 1] },
  buckets: [
    { start: 32, end: 48, parameters: ['head.weight'], blocks: [1], carriesTally: true },
    { start: 0, end: 32, parameters: ['embedding.weight'], blocks: [0], carriesTally: false },
  ],
  instructions: [
    { op: 'clear' },
    { op: 'load', micro: 0 },
    { op: 'forward', block: 0, micro: 0 },
    { op: 'forward', block: 1, micro: 0 },
    { op: 'backward', block: 1, micro: 0 },
    { op: 'reduce', bucket: 0 },
    { op: 'backward', block: 0, micro: 0 },
    { op: 'reduce', bucket: 1 },
    { op: 'wait', started: { op: 'reduce', bucket: 0 } },
    { op: 'wait', started: { op: 'reduce', bucket: 1 } },
    { op: 'clip', maximumNorm: 1 },
    { op: 'step' },
  ],
};

function slot(name: string, offset: number, elements: number) {
  return { name, localName: 'weight', owner: name, trainable: true, offset, elements, shape: [elements] };
}

function instructions(edit: (list: Instruction[]) => void): Program {
  const list = [...TWO_BLOCKS.instructions];
  edit(list);
  return { ...TWO_BLOCKS, instructions: list };
}

function refused(program: Program, ...parts: readonly RegExp[]): void {
  assert.throws(
    () => checkPrograms([program]),
    (error) => {
      assert.ok(error instanceof TrainyardError && error.code === 'PROGRAM_INVALID', String(error));
      for (const part of parts) assert.match(error.message, part);
      return true;
    },
  );
}

test('reports the peak of memory and the bytes of collectives', () => {
  const [report] = checkPrograms([TWO_BLOCKS]);
  assert.ok(report);
  // Most is alive when the last backward has made the gradient of the first output: both outputs are there.
  assert.equal(report.peak.position, 4);
  assert.deepEqual(report.peak.ledger, {
    parameters: 48 * 4,
    masters: 0,
    gathered: 0,
    secondary: 0,
    gradients: 51 * 4,
    optimizer: 384,
    buckets: 0,
    errors: 0,
    constants: 0,
    activations: 1000 + 500 + 40,
    workspace: 0,
    batches: 8,
    tiles: 0,
    host: 0,
    nvme: 0,
  });
  assert.equal(report.peak.bytes, 192 + 204 + 384 + 1540 + 8);
  assert.deepEqual(report.collectives, [
    { kind: 'all-reduce', group: 'data', count: 2, elements: 51, sentBytes: 204 },
  ]);
});

test('refuses a program over its budget, at the instruction of the peak', () => {
  checkPrograms([TWO_BLOCKS], { budgetBytes: 2328 });
  assert.throws(
    () => checkPrograms([TWO_BLOCKS], { budgetBytes: 2327 }),
    /2328 bytes are live, 2327 are allowed[\s\S]*rank 1, instruction 4: backward block\.1 micro 0/,
  );
});

test('names the instruction that breaks a program, and why', () => {
  refused(
    instructions((list) => list.splice(2, 1)),
    /"output of block\.0 micro 0" is not there/,
    /rank 1, instruction 2: forward block\.1 micro 0/,
  );
  refused(
    instructions((list) => list.splice(5, 0, ...list.splice(7, 1))),
    /"gradients from block\.0 micro 0" is not there/,
    /instruction 5: reduce bucket\.1 start/,
  );
  refused(
    instructions((list) => list.splice(8, 1)),
    /"reduced bucket\.0" is not finished: "reduce bucket\.0" is not waited for/,
    /instruction 9: clip 1/,
  );
  refused(
    instructions((list) => list.splice(6, 0, { op: 'reduce', bucket: 0 })),
    /"reduce bucket\.0" is started already/,
  );
  refused(
    instructions((list) => list.splice(5, 1)),
    /nothing started "reduce bucket\.0"/,
  );
  refused(
    instructions((list) => list.splice(11, 1)),
    /ends without "updated parameters"/,
  );
  refused(
    instructions((list) => list.push({ op: 'load', micro: 0 })),
    /ends with "batch of micro 0" still in memory/,
  );
  refused(
    instructions((list) => list.push({ op: 'forward', block: 2, micro: 0 })),
    /there is no block 2 among 2/,
  );
});

test('a block that dropped its graph must run again, once, right before its backward', () => {
  const recomputing = (edit: (list: Instruction[]) => void) =>
    instructions((list) => {
      list[2] = { op: 'forward', block: 0, micro: 0, drop: true };
      list.splice(6, 0, { op: 'recompute', block: 0, micro: 0 });
      edit(list);
    });
  const [report] = checkPrograms([recomputing(() => undefined)]);
  // The head's backward no longer sees what the embedding keeps beside its output.
  assert.equal(report?.peak.ledger.activations, 40 + 960 + 40);
  assert.equal(report?.peak.position, 6);
  refused(
    recomputing((list) => list.splice(6, 1)),
    /"graph of block\.0 micro 0" is not there/,
  );
  refused(
    recomputing((list) => list.splice(6, 0, { op: 'recompute', block: 0, micro: 0 })),
    /"graph of block\.0 micro 0" exists already/,
  );
  refused(
    recomputing((list) => list.splice(3, 0, ...list.splice(6, 1))),
    /"output gradient of block\.0 micro 0" is not there/,
  );
});

test('refuses buckets that do not cover the gradients exactly once', () => {
  const [first, second] = TWO_BLOCKS.buckets;
  assert.ok(first && second);
  refused({ ...TWO_BLOCKS, buckets: [first, { ...second, end: 31 }] }, /elements 31 to 32 are in no bucket/);
  refused(
    { ...TWO_BLOCKS, buckets: [{ ...first, start: 30 }, second] },
    /elements 30 to 32 are in two buckets/,
  );
  refused({ ...TWO_BLOCKS, buckets: [first, { ...second, blocks: [] }] }, /would not wait for block\.0/);
  refused(
    { ...TWO_BLOCKS, buckets: [first, { ...second, carriesTally: true }] },
    /the tally must travel once/,
  );
});

test('refuses ranks whose collectives do not meet', () => {
  const peer = { ...TWO_BLOCKS, rank: 0 };
  checkPrograms([peer, TWO_BLOCKS]);
  const swapped = instructions((list) => {
    list[5] = { op: 'backward', block: 0, micro: 0 };
    list[6] = { op: 'reduce', bucket: 1 };
    list[7] = { op: 'reduce', bucket: 0 };
  });
  checkPrograms([swapped]);
  assert.throws(
    () => checkPrograms([peer, swapped]),
    /all-reduce of 32 elements \(rank 1, instruction 6: reduce bucket\.1 start\) meets all-reduce of 19/,
  );
});

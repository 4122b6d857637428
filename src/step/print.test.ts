import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printProgram, programToJson } from './print.js';
import type { Program } from './program.js';

const PROGRAM: Program = {
  rank: 1,
  worldSize: 2,
  goal: 'gradients',
  features: ['1 micro-batch', 'data parallel 2'],
  microBatches: 1,
  blocks: [{ name: 'only', parameters: [], activationBytes: 0, outputBytes: 0 }],
  trainableElements: 65_536,
  bytesPerElement: 4,
  batchBytes: 0,
  optimizerBytes: 0,
  groups: { data: [0, 1] },
  buckets: [{ start: 0, end: 65_536, parameters: [], blocks: [0], carriesTally: true }],
  instructions: [
    { op: 'load', micro: 0 },
    { op: 'backward', block: 0, micro: 0 },
    { op: 'reduce', bucket: 0 },
    { op: 'wait', started: { op: 'reduce', bucket: 0 } },
    { op: 'clip' },
    { op: 'step' },
  ],
};

test('a program prints as aligned text under one line that says whose it is', () => {
  assert.equal(
    printProgram(PROGRAM),
    [
      'rank 1 of 2 · 1 micro-batch · data parallel 2',
      'load      micro 0',
      'backward  block.0          micro 0',
      'reduce    bucket.0         start    (all-reduce, 65,538 elements)',
      'wait      reduce bucket.0',
      'clip      none',
      'step',
      '',
    ].join('\n'),
  );
});

test('a program as JSON has everything, and the text of each instruction', () => {
  const { instructions, ...rest } = JSON.parse(JSON.stringify(programToJson(PROGRAM)));
  assert.deepEqual(instructions[2], { op: 'reduce', bucket: 0, text: 'reduce bucket.0 start' });
  const { instructions: _, ...facts } = PROGRAM;
  assert.deepEqual(rest, facts);
});

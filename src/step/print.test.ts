import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printProgram, printReport, programToJson } from './print.js';
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

const LEDGER = {
  constants: 0,
  parameters: 1000,
  masters: 0,
  gathered: 0,
  secondary: 0,
  gradients: 1008,
  optimizer: 2000,
  buckets: 0,
  errors: 0,
  activations: 12_345,
  workspace: 0,
  batches: 64,
  tiles: 0,
  host: 0,
  nvme: 0,
};

test('a program prints as aligned text under one line that says whose it is', () => {
  assert.equal(
    printProgram(PROGRAM),
    [
      'rank 1 of 2 · 1 micro-batch · data parallel 2',
      'load      micro 0',
      'backward  block.0          micro 0',
      'reduce    bucket.0         start    (all-reduce, 65,539 elements)',
      'wait      reduce bucket.0',
      'clip      none',
      'step',
      '',
    ].join('\n'),
  );
});

test('what moves between device and host prints with its direction and size, and what lies there apart', () => {
  const evict = { op: 'evict', memory: 'output', block: 0, micro: 0 } as const;
  const program: Program = {
    ...PROGRAM,
    blocks: [{ name: 'only', parameters: [], activationBytes: 4096, outputBytes: 4096 }],
    hostIsApart: true,
    instructions: [evict, { op: 'wait', started: evict }, { ...evict, op: 'fetch' }],
  };
  assert.equal(
    printProgram(program),
    [
      'rank 1 of 2 · 1 micro-batch · data parallel 2',
      'evict  block.0 output micro 0        start  (to host, 4,096 bytes)',
      'wait   evict block.0 output micro 0',
      'fetch  block.0 output micro 0        start  (to device, 4,096 bytes)',
      '',
    ].join('\n'),
  );
  const peak = { bytes: 5, position: -1, ledger: { ...LEDGER, host: 4096 } };
  const report = { rank: 1, instructions: 3, peak, collectives: [], messages: [] };
  assert.match(printReport(program, report), /^ +host +4,096 {2}bytes at most, beside the peak$/m);
  assert.match(printReport({ ...program, hostIsApart: false }, report), /^ +host +4,096$/m);
});

test('a program as JSON has everything, and the text of each instruction', () => {
  const { instructions, ...rest } = JSON.parse(JSON.stringify(programToJson(PROGRAM)));
  assert.deepEqual(instructions[2], { op: 'reduce', bucket: 0, text: 'reduce bucket.0 start' });
  const { instructions: _, ...facts } = PROGRAM;
  assert.deepEqual(rest, facts);
});

test('a report prints the peak with its ledger, and what is sent', () => {
  const collectives = [
    { kind: 'all-reduce', group: 'data', count: 2, elements: 65_538, sentBytes: 262_152 } as const,
  ];
  const report = {
    rank: 1,
    instructions: 6,
    peak: { bytes: 16_417, position: 1, ledger: LEDGER },
    collectives,
    messages: [{ memory: 'output', peer: 3, count: 2, sentBytes: 8192 } as const],
  };
  assert.equal(
    printReport(PROGRAM, report),
    [
      'peak   memory              16,417  bytes in backward block.0 micro 0',
      '       constants                0',
      '       parameters           1,000',
      '       masters                  0',
      '       gathered                 0',
      '       secondary                0',
      '       gradients            1,008',
      '       optimizer            2,000',
      '       buckets                  0',
      '       errors                   0',
      '       activations         12,345',
      '       workspace                0',
      '       batches                 64',
      '       tiles                    0',
      '       host                     0',
      '       nvme                     0',
      'sends  all-reduce (data)  262,152  bytes in 2 messages of 65,538 elements together',
      'sends  output to rank 3     8,192  bytes in 2 messages',
      '',
    ].join('\n'),
  );
});

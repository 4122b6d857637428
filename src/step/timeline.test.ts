import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Program } from './program.js';
import { chromeTrace, measuredSlices } from './timeline.js';

const PROGRAM: Program = {
  rank: 1,
  worldSize: 2,
  goal: 'update',
  features: [],
  microBatches: 1,
  blocks: [],
  trainableElements: 0,
  bytesPerElement: 4,
  batchBytes: 0,
  optimizerBytes: 0,
  groups: { data: [0, 1] },
  buckets: [],
  instructions: [
    { op: 'reduce', bucket: 0 },
    { op: 'backward', block: 0, micro: 0 },
    { op: 'wait', started: { op: 'reduce', bucket: 0 } },
  ],
};

const TIMES = [
  { position: 0, startMs: 10, endMs: 11 },
  { position: 1, startMs: 11, endMs: 20 },
  { position: 2, startMs: 20, endMs: 24 },
];

test('a started operation is drawn from its start to the end of its wait', () => {
  const slices = measuredSlices(PROGRAM, TIMES);
  assert.deepEqual(
    slices.map(({ stream, name, startMs, endMs }) => [stream, name, startMs, endMs]),
    [
      ['compute', 'reduce bucket.0 start', 10, 11],
      ['compute', 'backward block.0 micro 0', 11, 20],
      ['compute', 'wait reduce bucket.0', 20, 24],
      ['communication', 'reduce bucket.0', 10, 24],
    ],
  );
});

test('a Chrome trace has a process per rank, a thread per stream and times in microseconds', () => {
  const { traceEvents } = chromeTrace(measuredSlices(PROGRAM, TIMES));
  assert.deepEqual(traceEvents[0], { ph: 'M', name: 'process_name', pid: 1, args: { name: 'rank 1' } });
  assert.deepEqual(traceEvents.slice(5), [
    { name: 'backward block.0 micro 0', cat: 'compute', pid: 1, tid: 0, ph: 'X', ts: 11_000, dur: 9000 },
    { name: 'wait reduce bucket.0', cat: 'compute', pid: 1, tid: 0, ph: 'X', ts: 20_000, dur: 4000 },
    { name: 'reduce bucket.0', cat: 'communication', pid: 1, tid: 1, ph: 'b', id: 3, ts: 10_000 },
    { name: 'reduce bucket.0', cat: 'communication', pid: 1, tid: 1, ph: 'e', id: 3, ts: 24_000 },
  ]);
});

test('copies between device and host have a thread of their own, and are no communication', () => {
  const evict = { op: 'evict', memory: 'output', block: 0, micro: 0 } as const;
  const program: Program = {
    ...PROGRAM,
    blocks: [{ name: 'only', parameters: [], activationBytes: 0, outputBytes: 0 }],
    instructions: [evict, { op: 'backward', block: 0, micro: 0 }, { op: 'wait', started: evict }],
  };
  const slices = measuredSlices(program, TIMES);
  assert.deepEqual(slices.at(-1), {
    rank: 1,
    stream: 'copy',
    name: 'evict block.0 output micro 0',
    startMs: 10,
    endMs: 24,
  });
  const { traceEvents } = chromeTrace(slices);
  assert.deepEqual(traceEvents[3], {
    ph: 'M',
    name: 'thread_name',
    pid: 1,
    tid: 2,
    args: { name: 'copy' },
  });
  assert.match(JSON.stringify(traceEvents.at(-1)), /"cat":"copy","pid":1,"tid":2/);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Instruction } from './instruction.js';
import type { Program } from './program.js';
import type { CostModel } from './simulator/simulation.js';
import { simulate } from './simulator.js';

/** Two blocks of one rank, one micro-batch, one bucket per block. */
function program(rank: number, overlap: boolean): Program {
  const starts: Instruction<'reduce'>[] = [
    { op: 'reduce', bucket: 0 },
    { op: 'reduce', bucket: 1 },
  ];
  const [first, second] = starts as [Instruction<'reduce'>, Instruction<'reduce'>];
  const backwards: Instruction[] = [
    { op: 'backward', block: 1, micro: 0 },
    { op: 'backward', block: 0, micro: 0 },
  ];
  const [late, early] = backwards as [Instruction, Instruction];
  return {
    rank,
    worldSize: 2,
    goal: 'update',
    features: [],
    microBatches: 1,
    blocks: [
      { name: 'a', parameters: [], activationBytes: 100, outputBytes: 10 },
      { name: 'b', parameters: [], activationBytes: 100, outputBytes: 10 },
    ],
    trainableElements: 97,
    bytesPerElement: 4,
    batchBytes: 0,
    optimizerBytes: 0,
    groups: { data: [0, 1] },
    buckets: [
      { start: 50, end: 97, parameters: [], blocks: [1], carriesTally: true },
      { start: 0, end: 50, parameters: [], blocks: [0], carriesTally: false },
    ],
    instructions: [
      { op: 'clear' },
      { op: 'load', micro: 0 },
      { op: 'forward', block: 0, micro: 0 },
      { op: 'forward', block: 1, micro: 0 },
      ...(overlap ? [late, first, early, second] : [late, early, first, second]),
      { op: 'wait', started: first },
      { op: 'wait', started: second },
      { op: 'clip' },
      { op: 'step' },
    ],
  };
}

/** Forward 10 ms and backward 20 ms a block, update 5 ms, a message 1 ms and 0.3 ms an element. */
const COSTS: CostModel = {
  compute: ({ op }) => ({ forward: 10, backward: 20, step: 5 })[op as string] ?? 0,
  communicate: ({ elements }) => 1 + 0.3 * elements,
  send: ({ bytes }) => bytes,
  copy: ({ bytes }) => bytes,
};

test('without overlap the step is computation, then communication, then the update', () => {
  const { stepMs, ranks } = simulate([program(0, false), program(1, false)], COSTS);
  // 2 · 10 + 2 · 20 + 2 · (1 + 0.3 · 50) + 5
  assert.equal(stepMs, 97);
  assert.deepEqual(ranks[0], {
    rank: 0,
    endMs: 97,
    computeMs: 65,
    communicationMs: 32,
    copyMs: 0,
    exposedMs: 32,
    peakBytes: 100 * 4 + 100 + 100 + 10,
  });
});

test('with overlap the first bucket travels under the second backward', () => {
  const { stepMs, ranks, slices } = simulate([program(0, true), program(1, true)], COSTS);
  // The first message runs from 40 to 56, inside the backward that ends at 60; the second from 60 to 76.
  assert.equal(stepMs, 81);
  assert.equal(ranks[1]?.exposedMs, 16);
  const messages = slices.filter(({ rank, stream }) => rank === 0 && stream === 'communication');
  assert.deepEqual(
    messages.map(({ name, startMs, endMs }) => [name, startMs, endMs]),
    [
      ['reduce bucket.0', 40, 56],
      ['reduce bucket.1', 60, 76],
    ],
  );
});

test('messages of one rank go one after another, and everybody waits for the slowest', () => {
  const slow: CostModel = {
    compute: ({ op }, { rank }) =>
      (COSTS.compute({ op } as Instruction, program(rank, true)) || 0) * (rank + 1),
    communicate: ({ elements }) => elements,
    send: COSTS.send,
    copy: COSTS.copy,
  };
  const { ranks, stepMs } = simulate([program(0, true), program(1, true)], slow);
  // Rank 1 is done with its backwards at 80 and 120; the messages run 80 to 130 and 130 to 180.
  assert.equal(ranks[0]?.endMs, 185);
  assert.equal(ranks[0]?.exposedMs, 120);
  assert.equal(ranks[1]?.exposedMs, 60);
  assert.equal(stepMs, 190);
});

test('ranks that would wait for each other for ever are an error, not a loop', () => {
  const alone = program(0, true);
  assert.throws(() => simulate([alone], COSTS), /no program/);
  const { instructions } = program(1, true);
  const silent = { ...program(1, true), instructions: instructions.slice(0, 4) };
  assert.throws(() => simulate([alone, silent], COSTS), /wait for each other/);
});

/** One rank that moves the output of its first block to the host and back, with time for it or at once. */
function copying(inTime: boolean): Program {
  const evict = { op: 'evict', memory: 'output', block: 0, micro: 0 } as const;
  const fetch = { ...evict, op: 'fetch' } as const;
  const evicted: Instruction = { op: 'wait', started: evict };
  const fetched: Instruction = { op: 'wait', started: fetch };
  const forward: Instruction = { op: 'forward', block: 2, micro: 0 };
  const backward: Instruction = { op: 'backward', block: 2, micro: 0 };
  const base = program(0, false);
  return {
    ...base,
    worldSize: 1,
    blocks: [...base.blocks, { name: 'c', parameters: [], activationBytes: 100, outputBytes: 10 }],
    groups: { data: [0] },
    buckets: [],
    hostIsApart: true,
    instructions: [
      { op: 'clear' },
      { op: 'load', micro: 0 },
      { op: 'forward', block: 0, micro: 0 },
      { op: 'forward', block: 1, micro: 0, drop: true },
      evict,
      ...(inTime
        ? [forward, evicted, fetch, backward, fetched]
        : [evicted, forward, backward, fetch, fetched]),
      { op: 'recompute', block: 1, micro: 0 },
      { op: 'backward', block: 1, micro: 0 },
      { op: 'backward', block: 0, micro: 0 },
      { op: 'clip' },
      { op: 'step' },
    ],
  };
}

test('copies between device and host take the time of their link, beside what is computed', () => {
  const costs: CostModel = { ...COSTS, copy: ({ bytes, to }) => (to === 'host' ? 2 : 1) * bytes };
  const late = simulate([copying(false)], costs);
  // 3 · 10 + 3 · 20 + 5 to compute, and in between 20 and 10 to copy 10 bytes.
  assert.equal(late.stepMs, 125);
  assert.equal(late.ranks[0]?.exposedMs, 30);
  const { ranks, slices, stepMs } = simulate([copying(true)], costs);
  assert.equal(stepMs, 105);
  const [rank] = ranks;
  assert.ok(rank);
  const { computeMs, communicationMs, copyMs, exposedMs } = rank;
  assert.deepEqual(
    { computeMs, communicationMs, copyMs, exposedMs },
    { computeMs: 95, communicationMs: 0, copyMs: 30, exposedMs: 10 },
  );
  const copies = slices.filter(({ stream }) => stream === 'copy');
  assert.deepEqual(
    copies.map(({ name, startMs, endMs }) => [name, startMs, endMs]),
    [
      ['evict block.0 output micro 0', 20, 40],
      ['fetch block.0 output micro 0', 40, 50],
    ],
  );
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ExchangeTime } from './exchange-time.js';
import type { Instruction } from './instruction.js';

test('communication that hides behind nothing is the time of exchanges that start or are awaited', () => {
  const scatter: Instruction<'scatter'> = { op: 'scatter', part: 0 };
  const fetch: Instruction<'fetch'> = { op: 'fetch', memory: 'output', block: 0, micro: 0 };
  const instructions: readonly Instruction[] = [
    { op: 'gather', block: 0 },
    { op: 'forward', block: 0, micro: 0 },
    scatter,
    { op: 'wait', started: scatter },
    fetch,
    { op: 'wait', started: fetch },
    { op: 'step' },
  ];
  const time = new ExchangeTime();
  // Each takes a power of two, so that the sum says which they are.
  for (const position of instructions.keys())
    time.add(
      { instructions },
      { position, startMs: 1000, endMs: 1000 + 2 ** position },
      0.5 ** (position + 1),
    );
  // Of a forward, what it stood still.
  assert.equal(time.milliseconds, 1 + 4 + 8 + (1 / 4 + 1 / 32 + 1 / 64 + 1 / 128));
});

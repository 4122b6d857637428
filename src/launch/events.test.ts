import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeEvent, encodeEvent, type RankEvent } from './events.js';

const STEP = {
  event: 'step',
  step: 3,
  loss: 2.5,
  grad_norm: 1,
  learning_rate: 1e-3,
  tokens: 128,
  tokens_per_second: 1000,
  step_ms: 128,
  skipped: false,
} as const;

const EVENTS: readonly RankEvent[] = [
  {
    event: 'start',
    world_size: 2,
    parameters: 10,
    steps: 5,
    first_step: 1,
    device: 'cpu',
    output: 'runs/first',
  },
  STEP,
  { event: 'end', steps: 5, loss: 2, peak_memory_bytes: [1, 2], stopped: true },
  { event: 'error', rank: 1, code: 'DATA_INVALID', report: { what: 'line\nbreak' }, exit_code: 2, time: 12 },
  { event: 'log', level: 'warning', message: 'größer' },
  { event: 'section', step: 1, instruction: 'forward block.0 micro 0' },
];

test('an event is one line, and comes back as it was', () => {
  for (const event of EVENTS) {
    assert.doesNotMatch(encodeEvent(event), /\n/);
    assert.deepEqual(decodeEvent(encodeEvent(event)), event);
  }
});

test('what is not finite travels as null and comes back as not a number', () => {
  const line = encodeEvent({ ...STEP, loss: Number.NaN, grad_norm: Number.POSITIVE_INFINITY });
  assert.match(line, /"loss":null,"grad_norm":null/);
  assert.deepEqual(decodeEvent(line), { ...STEP, loss: Number.NaN, grad_norm: Number.NaN });
});

test('garbage is no event', () => {
  for (const line of [
    '',
    '{',
    'null',
    '[]',
    '{"event":"step"}',
    '{"event":"toString"}',
    '{"event":"__proto__"}',
  ]) {
    assert.equal(decodeEvent(line), undefined, line);
  }
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      assert.equal(decodeEvent(JSON.stringify(value)), undefined);
    }),
  );
});

test('a missing or wrong field makes it no event', () => {
  for (const name of Object.keys(STEP)) {
    assert.equal(decodeEvent(JSON.stringify({ ...STEP, [name]: undefined })), undefined, name);
    assert.equal(decodeEvent(JSON.stringify({ ...STEP, [name]: {} })), undefined, name);
  }
});

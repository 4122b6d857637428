import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { executeProgram, type Handlers, type TimedInstruction } from './executor.js';
import { instructionText } from './instruction-text.js';
import type { Program } from './program.js';

const PROGRAM: Program = {
  rank: 3,
  worldSize: 4,
  goal: 'update',
  features: [],
  microBatches: 1,
  blocks: [{ name: 'only', parameters: [], activationBytes: 0, outputBytes: 0 }],
  trainableElements: 0,
  bytesPerElement: 4,
  batchBytes: 0,
  optimizerBytes: 0,
  groups: { data: [3] },
  buckets: [],
  instructions: [
    { op: 'clear' },
    { op: 'load', micro: 0 },
    { op: 'forward', block: 0, micro: 0 },
    { op: 'backward', block: 0, micro: 0 },
    { op: 'clip' },
    { op: 'step' },
  ],
};

function handlersThat(handle: (text: string) => void): Handlers {
  const any = (instruction: Program['instructions'][number]) => handle(instructionText(instruction));
  return {
    adopt: any,
    update: any,
    clear: any,
    load: any,
    forward: any,
    recompute: any,
    backward: any,
    send: any,
    receive: any,
    reduce: any,
    cast: any,
    complete: any,
    gather: any,
    copy: any,
    prepare: any,
    scatter: any,
    sum: any,
    release: any,
    agree: any,
    evict: any,
    fetch: any,
    wait: any,
    accumulate: any,
    remember: any,
    restore: any,
    check: any,
    clip: any,
    step: any,
    exchange: any,
    merge: any,
    publish: any,
    compare: any,
  };
}

test('runs every instruction in order, each in a scope of its own, and records its time', () => {
  const log: string[] = [];
  const times: TimedInstruction[] = [];
  executeProgram(
    PROGRAM,
    handlersThat((text) => log.push(text)),
    {
      step: 7,
      runScoped: (body) => {
        log.push('open');
        body();
        log.push('close');
      },
      record: (timed) => times.push(timed),
    },
  );
  const expected = PROGRAM.instructions.flatMap((instruction) => [
    'open',
    instructionText(instruction),
    'close',
  ]);
  assert.deepEqual(log, expected);
  assert.deepEqual(
    times.map(({ position }) => position),
    [0, 1, 2, 3, 4, 5],
  );
  for (const { startMs, endMs } of times) assert.ok(startMs <= endMs);
});

test('an error says on which rank, in which step and at which instruction', () => {
  const failing = (error: Error) => () =>
    executeProgram(
      PROGRAM,
      handlersThat((text) => {
        if (text.startsWith('backward')) throw error;
      }),
      { step: 12, runScoped: (body) => body() },
    );
  assert.throws(failing(new RangeError('too long')), (error) => {
    assert.ok(error instanceof TrainyardError);
    assert.equal(error.code, 'STEP_FAILED');
    assert.equal(error.report.what, 'too long');
    assert.equal(error.report.where, 'rank 3, step 12, instruction 3: backward block.0 micro 0');
    return true;
  });
  const lost = new TrainyardError('COLLECTIVE_FAILED', { what: 'a peer is gone', where: 'rank 2' });
  assert.throws(failing(lost), (error) => {
    assert.ok(error instanceof TrainyardError);
    assert.equal(error.code, 'COLLECTIVE_FAILED');
    assert.match(error.report.where ?? '', /^rank 2 \(rank 3, step 12/);
    assert.equal(error.cause, lost);
    return true;
  });
});

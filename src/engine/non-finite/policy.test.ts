import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  afterFiniteStep,
  afterLoading,
  batchOfStep,
  decide,
  NOTHING_SEEN,
  type NonFiniteState,
} from './policy.js';

const limits = fc.integer({ min: 1, max: 4 });
const outcomes = fc.array(fc.boolean(), { maxLength: 40 });

test('a run that stops does so at its first step that is not finite', () => {
  const { decision } = decide({ action: 'stop', limit: 3 }, NOTHING_SEEN, 5);
  assert.equal(decision, 'stop');
});

test('a run that skips stops at the first row of steps that is longer than its limit, and not before', () => {
  fc.assert(
    fc.property(limits, outcomes, (limit, steps) => {
      let state = NOTHING_SEEN;
      let inARow = 0;
      for (const [step, good] of steps.entries()) {
        inARow = good ? 0 : inARow + 1;
        if (good) {
          state = afterFiniteStep(state);
          continue;
        }
        const decided = decide({ action: 'skip', limit }, state, step);
        assert.equal(decided.decision, inARow > limit ? 'stop' : 'skip');
        if (decided.decision === 'stop') return;
        state = decided.state;
      }
      assert.equal(state.skippedInARow, inARow);
    }),
  );
});

/** A run over batches of which some are bad: saves every `interval` steps, goes back at each bad one. */
function rewindingRun(bad: ReadonlySet<number>, steps: number, interval: number, limit: number) {
  let state: NonFiniteState = NOTHING_SEEN;
  let saved = { step: 0, state, trained: [] as readonly number[] };
  let [step, trained, rewinds]: [number, readonly number[], number] = [0, [], 0];
  while (step < steps) {
    const batch = batchOfStep(step, state.leftOut);
    if (bad.has(batch)) {
      const decided = decide({ action: 'rewind', limit }, state, batch);
      if (decided.decision === 'stop') return { stopped: true, trained, rewinds };
      rewinds += 1;
      state = afterLoading(decided.state, saved.state);
      ({ step, trained } = saved);
      continue;
    }
    state = afterFiniteStep(state);
    trained = [...trained, batch];
    step += 1;
    if (step % interval === 0) saved = { step, state, trained };
  }
  return { stopped: false, trained, rewinds };
}

test('a run that rewinds trains on every good batch once, in their order, and stops when it has gone back too often', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.integer({ min: 0, max: 20 }), { maxLength: 6 }),
      fc.integer({ min: 1, max: 15 }),
      fc.integer({ min: 1, max: 5 }),
      limits,
      (badBatches, steps, interval, limit) => {
        const bad = new Set(badBatches);
        const good = Array.from({ length: 40 }, (_, batch) => batch).filter((batch) => !bad.has(batch));
        const run = rewindingRun(bad, steps, interval, limit);
        const met = badBatches.filter((batch) => batch < (good[steps - 1] ?? 0)).length;
        assert.equal(run.stopped, met > limit);
        assert.equal(run.rewinds, Math.min(met, limit));
        assert.deepEqual(run.trained, good.slice(0, run.trained.length));
        if (!run.stopped) assert.equal(run.trained.length, steps);
      },
    ),
  );
});

test('batches that are left out are passed over, and no other', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { maxLength: 10 }), (out) => {
      const leftOut = [...out].sort((left, right) => left - right);
      const expected = Array.from({ length: 60 }, (_, batch) => batch).filter((each) => !out.includes(each));
      const batches = Array.from({ length: 40 }, (_, step) => batchOfStep(step, leftOut));
      assert.deepEqual(batches, expected.slice(0, 40));
    }),
  );
});

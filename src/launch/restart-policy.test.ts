import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decideRestart, type Loss } from './restart-policy.js';

const LIMITS = { restarts: 3, sizes: [4, 2, 1] };

function loss(change: Partial<Loss> = {}): Loss {
  return { ranks: 4, rank: 1, step: 5, mayBeTriedAgain: true, time: 1000, ...change };
}

function stops(losses: readonly Loss[], says: RegExp, limits = LIMITS): void {
  const decision = decideRestart(losses, limits);
  assert.equal(decision.kind, 'stop');
  assert.match(decision.kind === 'stop' ? (decision.reason ?? '') : '', says);
}

test('after a first loss the same ranks start at once', () => {
  assert.deepEqual(decideRestart([loss()], LIMITS), { kind: 'restart', ranks: 4, delayMs: 0, attempt: 1 });
  assert.deepEqual(decideRestart([loss({ step: 0 })], LIMITS), {
    kind: 'restart',
    ranks: 4,
    delayMs: 0,
    attempt: 1,
  });
});

test('what another attempt cannot mend is not tried, nor anything where nothing may be', () => {
  assert.deepEqual(decideRestart([loss({ mayBeTriedAgain: false })], LIMITS), { kind: 'stop' });
  assert.deepEqual(decideRestart([loss()], { ...LIMITS, restarts: 0 }), { kind: 'stop' });
});

test('a rank that is lost twice in one step is named', () => {
  stops([loss(), loss({ time: 2000 })], /rank 1 was lost twice in step 5/);
  assert.equal(decideRestart([loss(), loss({ step: 6 })], LIMITS).kind, 'restart');
  assert.equal(decideRestart([loss(), loss({ rank: 2 })], LIMITS).kind, 'restart');
});

test('without the rank that does not come back the run goes on with fewer, so far as it may', () => {
  const losses = [loss(), loss({ step: 0 })];
  assert.deepEqual(decideRestart(losses, LIMITS), { kind: 'restart', ranks: 2, delayMs: 1000, attempt: 2 });
  stops(losses, /did not come back/, { ...LIMITS, sizes: [4] });
});

test('restarts are counted by the hour', () => {
  const early = [1, 2, 3].map((step) => loss({ step, time: 1000 * step }));
  stops([...early, loss({ step: 9, time: 5000 })], /lost 4 times in an hour/);
  assert.equal(decideRestart([...early, loss({ step: 9, time: 3_700_000 })], LIMITS).kind, 'restart');
});

test('whatever is lost, it ends within the budget, waits no longer than half a minute, and never grows', () => {
  const anyLoss = fc.record({ rank: fc.nat(3), step: fc.nat(6), gap: fc.nat(60_000) });
  fc.assert(
    fc.property(
      fc.array(anyLoss, { minLength: 40, maxLength: 40 }),
      fc.integer({ min: 0, max: 6 }),
      (all, restarts) => {
        let [ranks, time] = [4, 0];
        const losses: Loss[] = [];
        for (const { rank, step, gap } of all) {
          time += gap;
          losses.push({ ranks, rank: Math.min(rank, ranks - 1), step, mayBeTriedAgain: true, time });
          const decision = decideRestart(losses, { ...LIMITS, restarts });
          if (decision.kind === 'stop') return;
          assert.ok(decision.ranks <= ranks && decision.delayMs <= 30_000 && decision.attempt <= restarts);
          ranks = decision.ranks;
        }
        // 40 losses take at most 40 minutes.
        assert.fail('it went on for ever');
      },
    ),
  );
});

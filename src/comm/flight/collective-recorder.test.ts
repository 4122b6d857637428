import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CollectiveRecorder } from './collective-recorder.js';

test('time in which a rank stands still adds up, also where that ends in an error', () => {
  const recorder = new CollectiveRecorder({ run: 'a run', rank: 0, worldSize: 2 });
  assert.equal(recorder.exposedMs, 0);
  const standStill = (): string => {
    const until = performance.now() + 20;
    while (performance.now() < until);
    return 'done';
  };
  assert.equal(recorder.exposed(standStill), 'done');
  const first = recorder.exposedMs;
  assert(first >= 20);
  standStill();
  assert.equal(recorder.exposedMs, first);
  assert.throws(() =>
    recorder.exposed(() => {
      standStill();
      throw new Error('a peer is gone');
    }),
  );
  assert(recorder.exposedMs >= 40);
});

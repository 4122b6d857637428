import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rand } from './generated/functions.js';
import { manualSeed, randomState, setRandomState } from './random.js';
import { scope } from './tensor.js';

test('the same seed gives the same numbers, and a saved state replays them', () => {
  scope(() => {
    manualSeed(7);
    const first = rand([5]).toArray();
    const state = randomState();
    const second = rand([5]).toArray();
    setRandomState(state);
    assert.deepEqual(rand([5]).toArray(), second);
    manualSeed(7);
    assert.deepEqual(rand([5]).toArray(), first);
    manualSeed(8);
    assert.notDeepEqual(rand([5]).toArray(), first);
  });
});

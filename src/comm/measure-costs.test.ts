import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { zeros } from '../tensor/generated/functions.js';
import { measureCosts } from './measure-costs.js';
import type { ProcessGroup } from './process-group.js';
import { finishedWork, type Work } from './work.js';

let nowMs = 0;
beforeEach(() => {
  nowMs = 0;
  mock.method(performance, 'now', () => nowMs);
});
afterEach(() => mock.restoreAll());

/** One of two ranks by links on which every message takes that long. The time passes at once. */
function linked(messageMs: number): { readonly group: ProcessGroup; readonly messages: () => number } {
  let messages = 0;
  const pass = (): Work => {
    nowMs += messageMs;
    return finishedWork;
  };
  const refuse = (): never => assert.fail('nothing is measured by it');
  const group: ProcessGroup = {
    rank: 0,
    worldSize: 2,
    sumsInOrder: false,
    readsInPlace: false,
    exchangedBytes: 0,
    allocate: (elements, dtype) => zeros([elements], { dtype }),
    allReduce: pass,
    barrier: pass,
    send: () => finishedWork,
    receive: () => {
      messages += 1;
      return pass();
    },
    broadcast: refuse,
    allGather: refuse,
    reduceScatter: refuse,
    allToAll: refuse,
    withDeadline: refuse,
    close: refuse,
  };
  return { group, messages: () => messages };
}

test('over links of much latency the measurement is warmed up by one relay, over quick ones by thirty', () => {
  const [slow, quick] = [linked(120), linked(0.5)];
  for (const { group } of [slow, quick]) measureCosts(group, [[0], [1]]);
  assert(slow.messages() < 80, `${slow.messages()} messages`);
  assert(quick.messages() > 150, `${quick.messages()} messages`);
});

test('what is measured over links of much latency is that latency', () => {
  const { betweenHosts } = measureCosts(linked(50).group, [[0], [1]]);
  assert(Math.abs(betweenHosts.start - 0.05) < 0.001, JSON.stringify(betweenHosts));
});

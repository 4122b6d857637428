import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { zeros } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { predictSeconds } from './choose-algorithm.js';
import { measureCosts } from './measure-costs.js';
import { measureSums } from './measure-sums.js';
import type { ProcessGroup } from './process-group.js';
import { finishedWork, type Work } from './work.js';

let nowMs = 0;
beforeEach(() => {
  nowMs = 0;
  mock.method(performance, 'now', () => nowMs);
});
afterEach(() => mock.restoreAll());

interface Link {
  readonly latencyMs: number;
  readonly bytesPerMs?: number;
  /** How often its all-reduce says the latency. */
  readonly rounds?: number;
}

/** One of two ranks on such a link. The time passes at once. */
function linked({ latencyMs, bytesPerMs = Number.POSITIVE_INFINITY, rounds = 1 }: Link) {
  let messages = 0;
  const pass = (elements: number, times = 1): Work => {
    nowMs += times * latencyMs + (4 * elements) / bytesPerMs;
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
    allReduce: ({ elements }: Tensor) => pass(elements, rounds),
    barrier: () => pass(0),
    send: () => finishedWork,
    receive: ({ elements }: Tensor) => {
      messages += 1;
      return pass(elements);
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

const HOSTS = [[0], [1]];

/** As a run measures. */
function measure(group: ProcessGroup) {
  const costs = measureCosts(group, HOSTS);
  return { ...costs, sums: measureSums(group, HOSTS, costs) };
}

test('over links of much latency the measurement is warmed up by one relay, over quick ones by thirty', () => {
  const [slow, quick] = [linked({ latencyMs: 120 }), linked({ latencyMs: 0.5 })];
  for (const { group } of [slow, quick]) measureCosts(group, HOSTS);
  assert(slow.messages() < 80, `${slow.messages()} messages`);
  assert(quick.messages() > 150, `${quick.messages()} messages`);
});

test('what is measured over links of much latency is that latency', () => {
  const { betweenHosts } = measureCosts(linked({ latencyMs: 50 }).group, HOSTS);
  assert(Math.abs(betweenHosts.start - 0.05) < 0.001, JSON.stringify(betweenHosts));
});

test('memory that is touched for the first time is not taken for what sums in it take', () => {
  const { group } = linked({ latencyMs: 0.05, bytesPerMs: 1e6 });
  const touched = new Set<number>();
  const shared = {
    allocate: group.allocate,
    allReduce: ({ elements }: Tensor): Work => {
      nowMs += touched.has(elements) ? 1 : 400;
      touched.add(elements);
      return finishedWork;
    },
  };
  const hosts = [
    [0, 1],
    [2, 3],
  ];
  const { sharedMemory } = measureCosts(group, hosts, shared);
  const seconds = (sharedMemory?.start ?? 0) + (sharedMemory?.perByte ?? 0) * (1 << 22);
  assert.ok(seconds < 0.002, `${seconds} s`);
});

test('measuring takes well under a second, over a slow link too', () => {
  for (const [link, most] of [
    [{ latencyMs: 0.05, bytesPerMs: 1e6 }, 650],
    [{ latencyMs: 0.3, bytesPerMs: 1e5 }, 650],
    // 25 and 10 Mbit/s.
    [{ latencyMs: 0.5, bytesPerMs: 25e6 / 8000 }, 650],
    [{ latencyMs: 1, bytesPerMs: 10e6 / 8000 }, 650],
  ] as const) {
    nowMs = 0;
    const { betweenHosts } = measure(linked(link).group);
    assert.ok(nowMs < most, `${JSON.stringify(link)}: ${nowMs} ms`);
    const perByte = 1 / link.bytesPerMs / 1000;
    assert.ok(Math.abs(betweenHosts.perByte / perByte - 1) < 0.05, JSON.stringify(betweenHosts));
  }
});

test('a whole sum is predicted to take what it took, and half of it to be half of that', () => {
  const latencyMs = 0.2;
  const costs = measure(linked({ latencyMs, bytesPerMs: 1e6, rounds: 3 }).group);
  const milliseconds = (choice: 'ring' | 'backend', collective: 'all-reduce' | 'all-gather', bytes: number) =>
    1000 * predictSeconds(choice, HOSTS, { collective, elements: bytes / 4, dtype: 'float32' }, costs);
  const isNear = (got: number, expected: number): void =>
    assert.ok(Math.abs(got / expected - 1) < 0.02, `${got} for ${expected}`);
  for (const bytes of [4096, 1 << 17, 1 << 19, 1 << 22]) {
    // Half of the tensor, twice; and Gloo's whole, in three rounds.
    isNear(milliseconds('ring', 'all-reduce', bytes), 2 * latencyMs + bytes / 1e6);
    isNear(milliseconds('backend', 'all-reduce', bytes), 3 * latencyMs + bytes / 1e6);
    isNear(milliseconds('ring', 'all-gather', bytes), latencyMs + bytes / 2e6);
    isNear(milliseconds('backend', 'all-gather', bytes), latencyMs + bytes / 2e6);
  }
});

test('sums for which there is no time are left to the prediction from parts', () => {
  const { sums } = measure(linked({ latencyMs: 0.5, bytesPerMs: 25e6 / 8000 }).group);
  assert.deepEqual(
    sums.get('ring')?.map(({ bytes }) => bytes),
    [4096],
  );
  assert.deepEqual(measure(linked({ latencyMs: 50 }).group).sums.get('ring'), []);
});

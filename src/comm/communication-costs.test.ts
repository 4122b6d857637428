import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PlannedCollective } from './algorithm/algorithm.js';
import { type Choice, choicesFor, createChooser, predictSeconds } from './choose-algorithm.js';
import { type CommunicationCosts, lineThrough, secondsFor } from './communication-costs.js';
import { hostsOfSize } from './topology.js';

/** Nothing costs anything but what a test says. */
const FREE: CommunicationCosts = {
  insideHost: { start: 0, perByte: 0 },
  betweenHosts: { start: 0, perByte: 0 },
  perMessage: 0,
  combinePerByte: 0,
  backend: { start: 1000, perByte: 0 },
};

const near = (got: number, expected: number): void =>
  assert.ok(Math.abs(got - expected) <= 1e-9 * Math.abs(expected), `${got} for ${expected}`);

const allReduce = (elements: number) => ({ collective: 'all-reduce', elements, dtype: 'float32' }) as const;

test('a line goes through what was measured, and rises whatever noise says', () => {
  const line = lineThrough([1000, 0.002], [101_000, 0.012]);
  near(secondsFor(line, 1000), 0.002);
  near(secondsFor(line, 101_000), 0.012);
  fc.assert(
    fc.property(
      fc.double({ min: 1e-6, max: 1, noNaN: true }),
      fc.double({ min: 1e-6, max: 1, noNaN: true }),
      (few, many) => {
        const found = lineThrough([1024, few], [1 << 20, many]);
        assert.ok(found.perByte > 0 && found.start >= 0);
      },
    ),
  );
});

test('rounds cost the start of their link', () => {
  const hosts = hostsOfSize(8, 8);
  const costs = { ...FREE, insideHost: { start: 1, perByte: 0 } };
  const seconds = (choice: 'ring' | 'halving-doubling') =>
    predictSeconds(choice, hosts, allReduce(800), costs);
  assert.equal(seconds('ring'), 14);
  assert.equal(seconds('halving-doubling'), 6);
});

test('bytes cost by the link that has most of them', () => {
  const hosts = hostsOfSize(8, 4);
  const bytes = 4 * 800;
  const costs = { ...FREE, betweenHosts: { start: 0, perByte: 1 } };
  const seconds = (choice: 'ring' | 'hierarchical' | 'halving-doubling') =>
    predictSeconds(choice, hosts, allReduce(800), costs);
  // One rank of each host sends 14 of the 8 parts; in lanes four ranks send half of their quarter, twice.
  near(seconds('ring'), (14 / 8) * bytes);
  near(seconds('hierarchical'), bytes);
  near(seconds('halving-doubling'), bytes);
});

test('the host that shares memory takes its time once, and half of it for one way', () => {
  const hosts = hostsOfSize(4, 2);
  const costs = { ...FREE, sharedMemory: { start: 2, perByte: 0 } };
  const seconds = (collective: PlannedCollective) =>
    predictSeconds('hierarchical', hosts, { collective, elements: 400, dtype: 'float32' }, costs);
  assert.deepEqual((['all-reduce', 'reduce-scatter', 'all-gather'] as const).map(seconds), [2, 1, 1]);
});

test('combining and further messages cost what they say', () => {
  const hosts = hostsOfSize(4, 4);
  const scatter = { collective: 'reduce-scatter', elements: 400, dtype: 'bfloat16' } as const;
  // Three messages of a quarter arrive at once, two of them further ones.
  near(predictSeconds('backend', hosts, scatter, { ...FREE, combinePerByte: 1 }), 3 * 200);
  near(predictSeconds('backend', hosts, scatter, { ...FREE, perMessage: 1 }), 2);
  near(predictSeconds('ring', hosts, scatter, { ...FREE, perMessage: 1, combinePerByte: 1 }), 3 * 200);
});

test('the choice is what is predicted to be fastest, by size; the backend where nothing is clearly faster', () => {
  const hosts = hostsOfSize(8, 1);
  const choose = createChooser(hosts, {
    ...FREE,
    betweenHosts: { start: 1e-4, perByte: 1e-9 },
    backend: { start: 2e-3, perByte: 2.5e-9 },
  });
  const pick = (bytes: number) => choose(allReduce(bytes / 4));
  assert.equal(pick(4096), 'halving-doubling');
  // Eight ranks: both halves of a bidirectional ring cross each link at once.
  assert.notEqual(pick(1 << 26), 'backend');
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1 << 22 }), (elements) => {
      const costs = {
        ...FREE,
        betweenHosts: { start: 1e-4, perByte: 1e-9 },
        backend: { start: 8e-4, perByte: 1.5e-9 },
      };
      const seconds = (choice: Choice) => predictSeconds(choice, hosts, allReduce(elements), costs);
      const chosen = createChooser(hosts, costs)(allReduce(elements));
      const ours = choicesFor(hosts).filter((choice) => choice !== 'backend');
      const best = Math.min(...ours.map(seconds));
      const isClear = best < 0.92 * seconds('backend');
      assert.equal(seconds(chosen), isClear ? best : seconds('backend'));
    }),
    { numRuns: 30 },
  );
});

test('whole sums that were measured correct the parts: between their sizes in part, beyond them as the nearest', () => {
  const hosts = hostsOfSize(2, 1);
  const parts = { ...FREE, betweenHosts: { start: 1, perByte: 0 } };
  const sums = new Map([
    [
      'ring',
      [
        { bytes: 1000, seconds: 4 },
        { bytes: 100_000, seconds: 8 },
      ],
    ],
  ] as const);
  const costs = { ...parts, sums };
  const seconds = (bytes: number, collective: PlannedCollective = 'all-reduce') =>
    predictSeconds('ring', hosts, { collective, elements: bytes / 4, dtype: 'float32' }, costs);
  // Two rounds of a second are predicted from the parts.
  for (const [bytes, expected] of [
    [400, 4],
    [1000, 4],
    [10_000, 6],
    [100_000, 8],
    [1_000_000, 8],
  ] as const)
    near(seconds(bytes), expected);
  near(seconds(10_000, 'reduce-scatter'), 3);
  near(predictSeconds('halving-doubling', hosts, allReduce(1000), costs), 2);
  const slower = { ...costs, backend: { start: 5, perByte: 0 } };
  assert.equal(
    createChooser(hosts, slower)(allReduce(100)),
    'bidirectional-ring',
    'nothing says that it is slow',
  );
});

test('links of their own to several hosts make it worth to go both ways round', () => {
  const hosts = hostsOfSize(4, 1);
  const costs = { ...FREE, betweenHosts: { start: 1e-4, perByte: 1e-8 } };
  const each = (betweenManyHosts: CommunicationCosts['betweenManyHosts']) =>
    (['ring', 'bidirectional-ring'] as const).map((choice) =>
      predictSeconds(choice, hosts, allReduce(1 << 22), { ...costs, betweenManyHosts }),
    );
  const [shared = 0, bothShared = 0] = each({ start: 1e-4, perByte: 1e-8 });
  near(bothShared, shared);
  const [one = 0, both = 0] = each({ start: 1e-4, perByte: 5e-9 });
  near(one, shared);
  assert.ok(both < 0.51 * one, `${both} for ${one}`);
});

test('between hosts with a slow link the choice is hierarchical, on one it is not among the choices', () => {
  const slow = {
    ...FREE,
    insideHost: { start: 1e-5, perByte: 1e-10 },
    betweenHosts: { start: 1e-4, perByte: 1e-8 },
  };
  assert.equal(createChooser(hostsOfSize(8, 4), slow)(allReduce(1 << 20)), 'hierarchical');
  assert.ok(!choicesFor(hostsOfSize(4, 4)).includes('hierarchical'));
});

test('beyond what was measured, its excess goes with the bytes where they are most of the time, and else is a start', () => {
  const hosts = hostsOfSize(2, 1);
  const costsOf = (start: number) => ({
    ...FREE,
    betweenHosts: { start, perByte: 0.001 },
    sums: new Map([['ring', [{ bytes: 1000, seconds: 2 * (2 * start + 1) }]]] as const),
  });
  const seconds = (start: number, bytes: number) =>
    predictSeconds('ring', hosts, allReduce(bytes / 4), costsOf(start));
  // Two rounds of half of the bytes, twice as long as that at 1000 bytes.
  near(seconds(0, 1000), 2);
  near(seconds(0, 100_000), 200);
  near(seconds(1, 1000), 6);
  near(seconds(1, 100_000), 2 + 100 + 3);
  const scatter = { collective: 'reduce-scatter', elements: 25_000, dtype: 'float32' } as const;
  near(predictSeconds('ring', hosts, scatter, costsOf(1)), (2 + 100 + 3) / 2);
});

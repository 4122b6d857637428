import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nextProbe, type Probe } from './probe-size.js';

const FEW = 1024;
const LIMITS = { least: 4096, most: 1 << 22, telling: 0.015 };

interface Link {
  /** Seconds. */
  readonly start: number;
  readonly perByte: number;
}

/** From 10 Mbit/s to 100 Gbit/s, and from microseconds to a tenth of a second. */
const links = fc
  .record({
    start: fc.double({ min: -6, max: -1, noNaN: true }),
    rate: fc.double({ min: 6, max: 10, noNaN: true }),
  })
  .map(({ start, rate }): Link => ({ start: 10 ** start, perByte: 10 ** -rate }));

/** Follows the decisions to their end on a link. @param stall what another thing adds to a probe */
function probes(
  { start, perByte }: Link,
  budget: number,
  stall: (probe: number) => number = () => 0,
): readonly Probe[] {
  const tried: Probe[] = [];
  let left = budget;
  const send = (bytes: number): void => {
    const seconds = start + perByte * bytes + stall(tried.length);
    tried.push({ bytes, seconds });
    left -= seconds;
  };
  send(FEW);
  for (let next = nextProbe(tried, { ...LIMITS, left }); next !== undefined; ) {
    assert.ok(tried.length < 20, 'it goes on for ever');
    send(next);
    next = nextProbe(tried, { ...LIMITS, left });
  }
  return tried;
}

const total = (tried: readonly Probe[]): number => tried.reduce((sum, { seconds }) => sum + seconds, 0);

test('messages grow by no more than four times, and end within the time that there is', () => {
  fc.assert(
    fc.property(links, fc.double({ min: 0, max: 1, noNaN: true }), (link, budget) => {
      const tried = probes(link, budget);
      for (const [index, { bytes }] of tried.entries()) {
        const before = tried[index - 1]?.bytes ?? FEW;
        assert.ok(bytes >= before && bytes <= 4 * before);
      }
      // The two without which there is no line are sent whatever they take.
      const allowed = Math.max(budget, total(tried.slice(0, 2)));
      // What is expected of bytes leaves out those of the shortest message.
      assert.ok(total(tried) <= 1.5 * allowed, `${total(tried)} of ${allowed} s`);
    }),
  );
});

test('the last message is the longest, or its bytes take long enough, or there is no time for a longer one', () => {
  fc.assert(
    fc.property(links, fc.double({ min: 0, max: 1, noNaN: true }), (link, budget) => {
      const tried = probes(link, budget);
      const { bytes, seconds } = tried.at(-1) ?? assert.fail('nothing was sent');
      const ofBytes = seconds - link.start;
      const isEnough = bytes === LIMITS.most || ofBytes >= LIMITS.telling;
      assert.ok(
        isEnough || total(tried) + link.start + 2 * ofBytes > budget - 1e-9,
        JSON.stringify(tried.at(-1)),
      );
      // At most twice as long as it has to be, but for the first, which is as short as a message gets.
      assert.ok(bytes === LIMITS.least || ofBytes < 2.1 * LIMITS.telling, `${ofBytes} s`);
    }),
  );
});

test('something else that the machine does once looks like no slow link', () => {
  fc.assert(
    fc.property(links, fc.nat(8), fc.double({ min: 0, max: 0.2, noNaN: true }), (link, at, stall) => {
      const [calm, stalled] = [probes(link, 10), probes(link, 10, (probe) => (probe === at ? stall : 0))];
      const times = (stalled.at(-1)?.bytes ?? 0) / (calm.at(-1)?.bytes ?? 0);
      // A size at the border of what is enough may be taken for that, or not.
      assert.ok(times >= 1 / 2 && times <= 2, `${times} times as long`);
    }),
  );
});

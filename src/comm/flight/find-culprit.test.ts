import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Culprit, findCulprit } from './find-culprit.js';
import type { CollectiveEntry, FlightRecord } from './flight-record.js';

const OPERATIONS = ['allReduce (sum)', 'allGather', 'broadcast from rank 0', 'barrier'];

const collectives = fc.array(
  fc.record({ operation: fc.constantFrom(...OPERATIONS), elements: fc.nat(5), messagesBefore: fc.nat(2) }),
  { minLength: 1, maxLength: 20 },
);

/** Ranks that all did the same, of which each tells only the newest so many, and the rank that is to be the culprit. */
const worlds = fc
  .record({ worldSize: fc.integer({ min: 2, max: 6 }), collectives, told: fc.integer({ min: 20, max: 80 }) })
  .chain((world) =>
    fc.record({ world: fc.constant(world), culprit: fc.nat(world.worldSize - 1), skew: fc.nat(50) }),
  )
  .map(({ world: { worldSize, collectives: done, told }, culprit, skew }) => ({
    worldSize,
    culprit,
    last: done.length,
    records: Array.from({ length: worldSize }, (_, rank) => {
      const entries = done.flatMap(({ operation, elements, messagesBefore }, index) => [
        ...Array.from({ length: messagesBefore }, () => entryOf(null, 'send to rank 0', 1, index)),
        entryOf(index + 1, operation, elements, index, rank === culprit ? skew : 0),
      ]);
      const own = entries.slice(-told);
      return recordOf(rank, worldSize, openLast(own));
    }),
  }));

test('nothing is found where all came at once', () => {
  fc.assert(
    fc.property(worlds, ({ records, worldSize }) => {
      assert.equal(findCulprit(records, worldSize), undefined);
    }),
  );
});

test('a rank in another operation is named, with the number of the first', () => {
  fc.assert(
    fc.property(worlds, fc.nat(), ({ records, worldSize, culprit }, seed) => {
      const sequence = someToldBy(records, culprit, seed);
      // From there on its collectives are the others' next ones.
      const others = Array.from({ length: worldSize }, (_, rank) => rank);
      const changed = withRecord(records, culprit, (entries) =>
        entries.map((entry) =>
          isFrom(entry, sequence) ? { ...entry, operation: 'reduceScatter (sum)' } : entry,
        ),
      );
      const found = findCulprit(changed, worldSize);
      assertKind(found, 'mismatch');
      assert.equal(found.sequence, sequence);
      assert.deepEqual(found.ranks, worldSize === 2 ? others : [culprit]);
    }),
  );
});

test('a rank that did not come is named, with what the others are in', () => {
  fc.assert(
    fc.property(worlds, fc.nat(), ({ records, worldSize, culprit }, seed) => {
      const sequence = someToldBy(records, culprit, seed);
      const changed = withRecord(records, culprit, (entries) =>
        entries.filter((entry) => !isFrom(entry, sequence)),
      );
      const found = findCulprit(changed, worldSize);
      assertKind(found, 'behind');
      assert.deepEqual(found.ranks, [culprit]);
      assert.equal(found.awaited.sequence, sequence);
    }),
  );
});

test('a rank whose last word is from long ago is named, with what the others are in now', () => {
  fc.assert(
    fc.property(worlds, fc.integer({ min: 1, max: 100_000 }), ({ records, worldSize, culprit }, silentMs) => {
      const open = records.flatMap(({ collectives }) => collectives.filter(({ ended }) => ended === null));
      const heard = Math.min(...open.map(({ started }) => started)) - silentMs;
      const changed = records.map((record) =>
        record.rank === culprit
          ? { ...record, state: 'waiting' as const, time: heard, collectives: [] }
          : record,
      );
      const found = findCulprit(changed, worldSize);
      assertKind(found, 'behind');
      assert.deepEqual(found.ranks, [culprit]);
      assert.equal(found.awaited.ended, null);
      assert.ok((found.silentSeconds ?? 0) >= silentMs / 1000);
    }),
  );
});

test('a rank that left no word is named', () => {
  fc.assert(
    fc.property(worlds, ({ records, worldSize, culprit }) => {
      const found = findCulprit(
        records.filter(({ rank }) => rank !== culprit),
        worldSize,
      );
      assertKind(found, 'silent');
      assert.deepEqual(found.ranks, [culprit]);
      assert.equal(found.awaited?.ended, null);
    }),
  );
});

test('the rank that came last is named', () => {
  fc.assert(
    fc.property(
      worlds,
      fc.integer({ min: 200, max: 100_000 }),
      ({ records, worldSize, culprit, last }, delayMs) => {
        const changed = withRecord(records, culprit, (entries) =>
          entries.map((entry) =>
            isFrom(entry, last) ? { ...entry, started: entry.started + delayMs } : entry,
          ),
        );
        const found = findCulprit(changed, worldSize);
        assertKind(found, 'late');
        assert.deepEqual(found.ranks, [culprit]);
        const foundMs = Math.round(found.seconds * 1000);
        assert(foundMs >= delayMs && foundMs <= delayMs + 50);
      },
    ),
  );
});

test('a rank that failed by itself is the cause, whatever the others say', () => {
  fc.assert(
    fc.property(worlds, ({ records, worldSize, culprit }) => {
      const reason = 'the disk is full';
      const changed = records
        .slice(0, culprit + 1)
        .map((record) =>
          record.rank === culprit ? { ...record, state: 'failed' as const, reason } : record,
        );
      assert.deepEqual(findCulprit(changed, worldSize), { kind: 'failed', ranks: [culprit], reason });
    }),
  );
});

test('where two wait for each other in a group of their own, the one that did not come is named, and not both', () => {
  const pairs = fc.record({ done: fc.integer({ min: 2, max: 9 }), culprit: fc.nat(3) });
  fc.assert(
    fc.property(pairs, ({ done, culprit }) => {
      const records = [0, 1, 2, 3].map((rank) => {
        const group = rank < 2 ? 'tensor (ranks 0, 1)' : 'tensor (ranks 2, 3)';
        const isStuck = Math.floor(rank / 2) === Math.floor(culprit / 2);
        const inPair = Array.from({ length: rank === culprit ? done - 1 : done }, (_, index) => ({
          ...entryOf(index + 1, 'allReduce (sum)', 4, index),
          group,
        }));
        const inWorld = isStuck ? [] : [entryOf(1, 'allGather', 5, done)];
        return recordOf(rank, 4, openLast([...inPair, ...inWorld]));
      });
      const found = findCulprit(records, 4);
      assertKind(found, 'behind');
      assert.deepEqual([found.ranks, found.awaited.sequence], [[culprit], done]);
    }),
  );
});

test('groups of some ranks are counted apart', () => {
  const records = [0, 1, 2, 3].map((rank) => {
    const mine = (group: string, elements: number) => ({
      ...entryOf(1, 'allReduce (sum)', elements, 0),
      group,
    });
    const pair = rank < 2 ? mine('tensor (ranks 0, 1)', 3) : mine('tensor (ranks 2, 3)', rank === 3 ? 6 : 5);
    return recordOf(rank, 4, [pair, entryOf(1, 'barrier', 0, 1)]);
  });
  const found = findCulprit(records, 4);
  assertKind(found, 'mismatch');
  assert.deepEqual(found.ranks, [2, 3]);
});

test('the order of the records does not matter', () => {
  fc.assert(
    fc.property(worlds, ({ records, worldSize, culprit, last }) => {
      const changed = withRecord(records, culprit, (entries) =>
        entries.map((entry) => (isFrom(entry, last) ? { ...entry, elements: 77 } : entry)),
      );
      assert.deepEqual(findCulprit([...changed].reverse(), worldSize), findCulprit(changed, worldSize));
    }),
  );
});

/** The number of one of the collectives that a rank tells of; the oldest have dropped out of its record. */
function someToldBy(records: readonly FlightRecord[], rank: number, seed: number): number {
  const numbers = (records[rank]?.collectives ?? []).flatMap(({ sequence }) => sequence ?? []);
  const number = numbers[seed % numbers.length];
  assert(number !== undefined);
  return number;
}

function assertKind<Kind extends Culprit['kind']>(
  found: Culprit | undefined,
  kind: Kind,
): asserts found is Extract<Culprit, { kind: Kind }> {
  assert.equal(found?.kind, kind);
}

function entryOf(
  sequence: number | null,
  operation: string,
  elements: number,
  index: number,
  skew = 0,
): CollectiveEntry {
  const started = 1_000_000 + 1000 * index + skew;
  const times = { started, wait_began: started + 1, ended: started + 2 };
  return {
    sequence,
    operation,
    group: 'world',
    dtype: 'float32',
    elements,
    instruction: `step ${index}`,
    ...times,
  };
}

/** The last one is not finished: that is what the run ended with. */
function openLast(entries: readonly CollectiveEntry[]): CollectiveEntry[] {
  return entries.map((entry, index) => (index === entries.length - 1 ? { ...entry, ended: null } : entry));
}

function isFrom({ sequence }: CollectiveEntry, first: number): boolean {
  return sequence !== null && sequence >= first;
}

function withRecord(
  records: readonly FlightRecord[],
  culprit: number,
  change: (entries: readonly CollectiveEntry[]) => CollectiveEntry[],
): readonly FlightRecord[] {
  return records.map((record) =>
    record.rank === culprit ? { ...record, collectives: change(record.collectives) } : record,
  );
}

function recordOf(rank: number, worldSize: number, entries: CollectiveEntry[]): FlightRecord {
  const format = 'trainyard-flight-1' as const;
  const common = { format, run: 'test', rank, world_size: worldSize, time: 0, instruction: '' };
  return { ...common, state: 'collective failed', reason: 'timed out', collectives: entries };
}

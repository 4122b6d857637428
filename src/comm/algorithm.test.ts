import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { PlannedCollective } from './algorithm/algorithm.js';
import { type Arrival, type Plan, ranksOf } from './algorithm/plan.js';
import { ALGORITHM_NAMES, ALGORITHMS, type AlgorithmName } from './algorithm.js';
import { agreedHosts, type Hosts, hostIndex, hostsOfSize } from './topology.js';

const COLLECTIVES: readonly PlannedCollective[] = ['all-reduce', 'reduce-scatter', 'all-gather'];

interface Case {
  readonly name: AlgorithmName;
  readonly collective: PlannedCollective;
  readonly hosts: Hosts;
  readonly elements: number;
}

/** Ranks spread over hosts in any way, the even one among them. */
const anyHosts: fc.Arbitrary<Hosts> = fc.integer({ min: 1, max: 12 }).chain((ranks) =>
  fc.oneof(
    fc.integer({ min: 1, max: ranks }).map((size) => hostsOfSize(ranks, size)),
    fc
      .array(fc.integer({ min: 0, max: 3 }), { minLength: ranks, maxLength: ranks })
      .map((names) => hostsByName(names.map(String))),
  ),
);

const anyCase: fc.Arbitrary<Case> = fc
  .record({
    name: fc.constantFrom(...ALGORITHM_NAMES),
    collective: fc.constantFrom(...COLLECTIVES),
    hosts: anyHosts,
    length: fc.oneof(fc.constantFrom(0, 1, 2), fc.integer({ min: 0, max: 60 })),
  })
  .map(({ length, ...rest }) => {
    const ranks = ranksOf(rest.hosts).length;
    return { ...rest, elements: rest.collective === 'all-reduce' ? length : length * ranks };
  });

test('every plan ends with the right result on every rank, without a deadlock', () => {
  fc.assert(
    fc.property(anyCase, (each) => {
      const { collective, hosts, elements } = each;
      const ranks = ranksOf(hosts).length;
      for (const [rank, values] of simulate(each).entries()) {
        for (const [position, value] of values.entries()) {
          const owner = Math.floor((position * ranks) / elements);
          const sum = Array.from({ length: ranks }, () => 1);
          if (collective === 'all-gather') {
            assert.deepEqual(value, only(owner, ranks), `element ${position} on rank ${rank}`);
          } else if (collective === 'all-reduce' || owner === rank) {
            assert.deepEqual(value, sum, `element ${position} on rank ${rank}`);
          }
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('transfers of a reduce-scatter stay inside one part and keep their borders', () => {
  fc.assert(
    fc.property(anyCase, (each) => {
      const { hosts, elements } = each;
      const ranks = ranksOf(hosts);
      const chunk = elements / ranks.length;
      for (const rank of ranks) {
        const borders = new Map<number, number>();
        for (const { sends, receives } of planOf({ ...each, collective: 'reduce-scatter' }, rank, chunk)) {
          for (const { start, end } of [...sends, ...receives]) {
            const part = Math.ceil(chunk);
            assert.equal(Math.floor(start / part), Math.floor((end - 1) / part));
            assert.equal(borders.get(start) ?? end, end);
            borders.set(start, end);
          }
        }
      }
    }),
  );
});

describe('bytes and rounds are those of the formulas', () => {
  const even = fc.record({
    hosts: fc
      .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 }))
      .map(([count, size]) => hostsOfSize(count * size, size)),
    units: fc.integer({ min: 1, max: 4 }),
  });
  const sentBy = (plan: Plan): number =>
    plan.flatMap(({ sends }) => sends).reduce((sum, { start, end }) => sum + end - start, 0);

  for (const name of ALGORITHM_NAMES) {
    test(name, () => {
      fc.assert(
        fc.property(even, ({ hosts, units }) => {
          const ranks = ranksOf(hosts).length;
          // Divisible by whatever an algorithm divides by: ranks, halves, lanes, hosts.
          const elements = units * 2 * ranks * ranks;
          for (const collective of COLLECTIVES) {
            const least = ((ranks - 1) * elements) / ranks;
            const twice = collective === 'all-reduce' ? 2 : 1;
            for (const rank of ranksOf(hosts)) {
              const plan = ALGORITHMS[name].plan({ collective, rank, hosts, elements });
              assert.equal(plan.length, roundsByFormula(name, collective, hosts));
              if (name !== 'halving-doubling' || Number.isInteger(Math.log2(ranks)))
                assert.equal(sentBy(plan), twice * least);
            }
          }
        }),
      );
    });
  }

  test('of halving and doubling beyond a power of two', () => {
    const hosts = hostsOfSize(6, 6);
    const plan = (rank: number) =>
      ALGORITHMS['halving-doubling'].plan({ collective: 'all-reduce', rank, hosts, elements: 400 });
    // Two pairs; the second of each sends all once, the first has the sum of both and hands the result back.
    assert.deepEqual([0, 1, 2, 3, 4, 5].map(plan).map(sentBy), [1000, 400, 1000, 400, 600, 600]);
  });

  test('between hosts', () => {
    const hosts = hostsOfSize(8, 4);
    const elements = 320;
    const crossing = (name: AlgorithmName): number =>
      ranksOf(hosts)
        .flatMap((rank) =>
          ALGORITHMS[name]
            .plan({ collective: 'all-reduce', rank, hosts, elements })
            .flatMap(({ sends }) => sends)
            .filter(({ peer }) => hostIndex(hosts, peer) !== hostIndex(hosts, rank)),
        )
        .reduce((sum, { start, end }) => sum + end - start, 0);
    // 2(H−1)/H of an L-th for each rank; a ring has one rank of each host send 2(N−1)/N of all.
    assert.equal(crossing('hierarchical'), 8 * (elements / 4));
    assert.equal(crossing('ring'), 2 * ((2 * 7 * elements) / 8));
    assert.equal(crossing('halving-doubling'), 8 * ((2 * elements) / 8));
  });
});

function roundsByFormula(name: AlgorithmName, collective: PlannedCollective, hosts: Hosts): number {
  const ranks = ranksOf(hosts).length;
  const twice = collective === 'all-reduce' ? 2 : 1;
  switch (name) {
    case 'ring':
    case 'bidirectional-ring':
      return twice * (ranks - 1);
    case 'halving-doubling': {
      const folds = Number.isInteger(Math.log2(ranks)) ? 0 : 2;
      return twice * Math.floor(Math.log2(ranks)) + folds;
    }
    case 'hierarchical':
      return twice * (hosts.length - 1) + twice;
    default:
      return name satisfies never;
  }
}

function planOf({ name, collective, hosts }: Case, rank: number, chunk: number): Plan {
  const elements = Math.ceil(chunk) * ranksOf(hosts).length;
  return ALGORITHMS[name].plan({ collective, rank, hosts, elements });
}

/** What an element has of each rank: how often its value is in it. */
type Origins = readonly number[];

interface Message {
  readonly start: number;
  readonly end: number;
  readonly values: readonly Origins[];
}

/** One rank that executes its plan, with everything it has been sent. */
class SimulatedRank {
  values: Origins[];
  readonly inbox = new Map<number, Message[]>();
  readonly #plan: Plan;
  #round = 0;
  #hasSent = false;

  constructor(each: Case, rank: number) {
    const ranks = ranksOf(each.hosts).length;
    this.#plan = ALGORITHMS[each.name].plan({ ...each, rank });
    const owns = (position: number): boolean =>
      each.collective !== 'all-gather' || Math.floor((position * ranks) / each.elements) === rank;
    this.values = Array.from({ length: each.elements }, (_, position) =>
      owns(position) ? only(rank, ranks) : Array.from({ length: ranks }, () => 0),
    );
  }

  get isDone(): boolean {
    return this.#round === this.#plan.length;
  }

  /** Goes as far as it can; whether that was anywhere. */
  advance(send: (peer: number, message: Message) => void): boolean {
    let moved = false;
    while (!this.isDone) {
      const { sends = [], receives = [] } = this.#plan[this.#round] ?? {};
      if (!this.#hasSent) {
        for (const { peer, start, end } of sends)
          send(peer, { start, end, values: this.values.slice(start, end) });
        this.#hasSent = true;
        moved = true;
        for (const arrival of receives) {
          const meets = sends.some(({ start, end }) => start < arrival.end && arrival.start < end);
          assert(!meets, 'something arrives where something is sent from');
        }
      }
      const wanted = new Map<number, number>();
      for (const { peer } of receives) wanted.set(peer, (wanted.get(peer) ?? 0) + 1);
      if ([...wanted].some(([peer, count]) => (this.inbox.get(peer)?.length ?? 0) < count)) return moved;
      for (const arrival of receives) this.#receive(arrival);
      this.#round += 1;
      this.#hasSent = false;
      moved = true;
    }
    return moved;
  }

  #receive({ peer, start, end, effect }: Arrival): void {
    const message = this.inbox.get(peer)?.shift();
    assert(message && message.start === start && message.end === end, 'another message than was expected');
    assert(end > start, 'an empty message');
    this.values = this.values.map((own, position) => {
      if (position < start || position >= end) return own;
      const other = message.values[position - start] ?? [];
      return effect === 'copy' ? other : own.map((count, rank) => count + (other[rank] ?? 0));
    });
  }
}

/** Executes the plans of all ranks; what every element of each is made of in the end. */
function simulate(each: Case): readonly (readonly Origins[])[] {
  const ranks = [...ranksOf(each.hosts)]
    .sort((left, right) => left - right)
    .map((rank) => new SimulatedRank(each, rank));
  for (let moved = true; moved; ) {
    moved = false;
    for (const [rank, simulated] of ranks.entries()) {
      const progress = simulated.advance((peer, message) => {
        const inbox = ranks[peer]?.inbox;
        assert(inbox && peer !== rank, `rank ${rank} sends to ${peer}`);
        inbox.set(rank, [...(inbox.get(rank) ?? []), message]);
      });
      moved ||= progress;
    }
  }
  for (const [rank, { isDone, inbox }] of ranks.entries()) {
    assert(isDone, `rank ${rank} waits for ever`);
    assert(
      [...inbox.values()].every(({ length }) => length === 0),
      `rank ${rank} was sent too much`,
    );
  }
  return ranks.map(({ values }) => values);
}

function only(owner: number, ranks: number): Origins {
  return Array.from({ length: ranks }, (_, rank) => (rank === owner ? 1 : 0));
}

/** The hosts of ranks that each know the name of theirs. */
function hostsByName(names: readonly string[]): Hosts {
  const said = names.map((name) => ({ name, ranks: names.filter((other) => other === name).length }));
  return agreedHosts(said) ?? [];
}

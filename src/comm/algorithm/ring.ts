import { invariant } from '../../base/errors.js';
import type { Algorithm } from './algorithm.js';
import { arrivals, joined, ownPart, type Plan, partOf, ranksOf, type Share, transfers } from './plan.js';

/** Which way round: to the next member, or to the one before. */
export type Direction = 1 | -1;

/**
 * Partial sums go round, and each member adds its own to what passes; after N−1 rounds every share is complete where
 * it belongs. An all-gather lets the shares go round as they are. A rank sends (N−1)/N of the whole, an all-reduce,
 * which is one after the other, twice that: the least that is possible. Patarasu and Yuan, "Bandwidth optimal
 * all-reduce algorithms for clusters of workstations" (2009).
 */
export const ring: Algorithm = {
  plan({ collective, rank, hosts, elements }) {
    const members = ranksOf(hosts);
    switch (collective) {
      case 'all-reduce': {
        const whole = { start: 0, end: elements };
        return ringAllReduce(
          members,
          rank,
          members.map((_, index) => [partOf(whole, index, members.length)]),
        );
      }
      case 'reduce-scatter':
      case 'all-gather': {
        const shares = members.map((member) => [ownPart(elements, member, hosts)]);
        return collective === 'reduce-scatter'
          ? ringReduceScatter(members, rank, shares)
          : ringAllGather(members, rank, shares);
      }
      default:
        return collective satisfies never;
    }
  },
  refuses: () => undefined,
};

/** A reduce-scatter and an all-gather of the same shares. */
export function ringAllReduce(members: readonly number[], rank: number, shares: readonly Share[]): Plan {
  return joined([...ringReduceScatter(members, rank, shares), ...ringAllGather(members, rank, shares)]);
}

/**
 * Every member ends with the sum of its share.
 *
 * @param rank one of the members
 * @param shares one for each member
 */
export function ringReduceScatter(
  members: readonly number[],
  rank: number,
  shares: readonly Share[],
  direction: Direction = 1,
): Plan {
  const at = neighbours(members, rank, direction);
  return rounds(members, (step) => ({
    sends: transfers(at.shareBehind(shares, step + 1), at.next),
    receives: arrivals(at.shareBehind(shares, step + 2), at.previous, 'combine'),
  }));
}

/** Every member begins with its share, and ends with all. */
export function ringAllGather(
  members: readonly number[],
  rank: number,
  shares: readonly Share[],
  direction: Direction = 1,
): Plan {
  const at = neighbours(members, rank, direction);
  return rounds(members, (step) => ({
    sends: transfers(at.shareBehind(shares, step), at.next),
    receives: arrivals(at.shareBehind(shares, step + 1), at.previous, 'copy'),
  }));
}

function rounds(members: readonly number[], round: (step: number) => Plan[number]): Plan {
  return Array.from({ length: members.length - 1 }, (_, step) => round(step));
}

/** A member's place in the ring: whom it sends to, whom it hears from, and whose shares pass. */
function neighbours(members: readonly number[], rank: number, direction: Direction) {
  const index = members.indexOf(rank);
  invariant(index >= 0, `rank ${rank} is no member of the ring`);
  const around = (steps: number): number => {
    const moved = (index + direction * steps) % members.length;
    return moved < 0 ? moved + members.length : moved;
  };
  return {
    next: members[around(1)] ?? rank,
    previous: members[around(-1)] ?? rank,
    /** The share of the member so many places behind this one. */
    shareBehind: (shares: readonly Share[], places: number): Share => shares[around(-places)] ?? [],
  };
}

import type { Algorithm } from './algorithm.js';
import { joined, ownPart, type Plan, partOf, ranksOf, type Share, together } from './plan.js';
import { type Direction, ringAllGather, ringReduceScatter } from './ring.js';

/**
 * Two rings at once, one each way round, with half of every share: as many bytes and rounds as a ring, but on
 * full-duplex links between neighbours each round takes half as long. Between two ranks it is a ring.
 */
export const bidirectionalRing: Algorithm = {
  plan({ collective, rank, hosts, elements }) {
    const members = ranksOf(hosts);
    const bothWays = (
      shares: readonly Share[],
      oneWay: (halves: readonly Share[], direction: Direction) => Plan,
    ): Plan => together(oneWay(halves(shares, 0), 1), oneWay(halves(shares, 1), -1));
    const reduceScatter = (shares: readonly Share[]): Plan =>
      bothWays(shares, (half, direction) => ringReduceScatter(members, rank, half, direction));
    const allGather = (shares: readonly Share[]): Plan =>
      bothWays(shares, (half, direction) => ringAllGather(members, rank, half, direction));
    const owned = (): readonly Share[] => members.map((member) => [ownPart(elements, member, hosts)]);
    switch (collective) {
      case 'all-reduce': {
        const shares = members.map((_, index) => [
          partOf({ start: 0, end: elements }, index, members.length),
        ]);
        return joined([...reduceScatter(shares), ...allGather(shares)]);
      }
      case 'reduce-scatter':
        return reduceScatter(owned());
      case 'all-gather':
        return joined(allGather(owned()));
      default:
        return collective satisfies never;
    }
  },
  refuses: () => undefined,
};

function halves(shares: readonly Share[], half: 0 | 1): readonly Share[] {
  return shares.map((share) => share.map((range) => partOf(range, half, 2)));
}

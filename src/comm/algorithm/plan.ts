import { chunkStart } from '../chunk.js';
import type { Hosts } from '../topology.js';

/** Elements [start, end) of the whole that a collective is about. */
export interface ElementRange {
  readonly start: number;
  readonly end: number;
}

/** Elements that go to a peer, or come from it. */
export interface Transfer extends ElementRange {
  readonly peer: number;
}

/** What arrives is put in place of the own elements, or combined with them. */
export interface Arrival extends Transfer {
  readonly effect: 'copy' | 'combine';
}

/**
 * What a rank sends and receives at once. It sends what it had before the round; nothing arrives in a round where
 * something is sent from. Messages between two ranks arrive in the order in which they are listed.
 */
export interface Round {
  readonly sends: readonly Transfer[];
  readonly receives: readonly Arrival[];
}

/** The rounds of one rank, one after the other. All ranks have equally many, some of them empty. */
export type Plan = readonly Round[];

/** The elements that a member of a stage ends up with, or begins with: some ranges in ascending order. */
export type Share = readonly ElementRange[];

const IDLE: Round = { sends: [], receives: [] };

/** Rounds in which a rank does nothing, as long as others take. */
export function idle(rounds: number): Plan {
  return Array.from({ length: rounds }, () => IDLE);
}

/** Transfers of a share, without its empty ranges. */
export function transfers(share: Share, peer: number): readonly Transfer[] {
  return share.filter(({ start, end }) => end > start).map(({ start, end }) => ({ peer, start, end }));
}

/** Arrivals of a share, without its empty ranges. */
export function arrivals(share: Share, peer: number, effect: Arrival['effect']): readonly Arrival[] {
  return transfers(share, peer).map((transfer) => ({ ...transfer, effect }));
}

/** One of as many parts of a range, as equal as can be. */
export function partOf({ start, end }: ElementRange, part: number, parts: number): ElementRange {
  return {
    start: start + chunkStart(end - start, part, parts),
    end: start + chunkStart(end - start, part + 1, parts),
  };
}

/** What rank r owns in a reduce-scatter or an all-gather. */
export function ownPart(elements: number, rank: number, hosts: Hosts): ElementRange {
  return partOf({ start: 0, end: elements }, rank, ranksOf(hosts).length);
}

/** All ranks, those of one host beside each other: what follows this order crosses between hosts least. */
export function ranksOf(hosts: Hosts): readonly number[] {
  return hosts.flat();
}

/** Both at once: round by round what either does. */
export function together(left: Plan, right: Plan): Plan {
  return Array.from({ length: Math.max(left.length, right.length) }, (_, index) => ({
    sends: [...(left[index]?.sends ?? []), ...(right[index]?.sends ?? [])],
    receives: [...(left[index]?.receives ?? []), ...(right[index]?.receives ?? [])],
  }));
}

/** The same with one message where several would carry neighbours to one peer. */
export function joined(plan: Plan): Plan {
  return plan.map(({ sends, receives }) => ({
    sends: joinNeighbours(sends),
    receives: joinNeighbours(receives),
  }));
}

function joinNeighbours<Kind extends Transfer>(list: readonly Kind[]): readonly Kind[] {
  const result: Kind[] = [];
  for (const each of list) {
    const last = result.at(-1);
    if (last !== undefined && last.peer === each.peer && last.end === each.start)
      result[result.length - 1] = { ...last, end: each.end };
    else result.push(each);
  }
  return result;
}

import { invariant } from '../../base/errors.js';
import type { Algorithm } from './algorithm.js';
import {
  arrivals,
  type ElementRange,
  idle,
  joined,
  ownPart,
  type Plan,
  partOf,
  type Round,
  ranksOf,
  type Share,
  transfers,
} from './plan.js';

/**
 * Ranks exchange in pairs: half of what they have with a neighbour, a quarter with one two places away, and so on;
 * an all-gather goes back the same way. log₂ N rounds where a ring has N−1, and as few bytes where N is a power of
 * two. The largest messages are between neighbours, which are on one host where possible.
 *
 * Beyond a power of two, every second of the first ranks first gives all that it has to the one before it, and gets
 * its result from there at the end. Thakur, Rabenseifner and Gropp, "Optimization of collective communication
 * operations in MPICH" (2005).
 */
export const halvingDoubling: Algorithm = {
  plan({ collective, rank, hosts, elements }) {
    const teams = teamsOf(ranksOf(hosts));
    const whole: ElementRange = { start: 0, end: elements };
    const part = (member: number): ElementRange => ownPart(elements, member, hosts);
    const owned = teams.map(([lead, follower]) =>
      follower === undefined ? [part(lead)] : [part(lead), part(follower)],
    );
    const everything = ranksOf(hosts).map(part);
    switch (collective) {
      case 'all-reduce': {
        // Those that are exchanged together are neighbours.
        const shares = teams.map((_team, index) => [
          partOf(whole, mirrored(index, teams.length), teams.length),
        ]);
        return joined([
          ...foldIn(teams, rank, () => [whole], 'combine'),
          ...halve(teams, rank, shares),
          ...double(teams, rank, shares),
          ...handBack(teams, rank, () => [whole]),
        ]);
      }
      case 'reduce-scatter':
        return [
          ...foldIn(teams, rank, () => everything, 'combine'),
          ...halve(teams, rank, owned),
          ...handBack(teams, rank, (member) => [part(member)]),
        ];
      case 'all-gather':
        return joined([
          ...foldIn(teams, rank, (member) => [part(member)], 'copy'),
          ...double(teams, rank, owned),
          ...handBack(teams, rank, (member) => without(everything, part(member))),
        ]);
      default:
        return collective satisfies never;
    }
  },
  refuses: () => undefined,
};

/** A power of two of them, each a rank that exchanges and perhaps one whose part it takes. */
type Team = readonly [lead: number] | readonly [lead: number, follower: number];

function teamsOf(ranks: readonly number[]): readonly Team[] {
  const count = 2 ** Math.floor(Math.log2(ranks.length));
  const pairs = ranks.length - count;
  return Array.from({ length: count }, (_, index): Team => {
    const [lead = 0, follower] = index < pairs ? ranks.slice(2 * index) : ranks.slice(pairs + index);
    return index < pairs && follower !== undefined ? [lead, follower] : [lead];
  });
}

function placeOf(teams: readonly Team[], rank: number): { readonly index: number; readonly team: Team } {
  const index = teams.findIndex((team) => team.includes(rank));
  const team = teams[index];
  invariant(team, `rank ${rank} is in no team`);
  return { index, team };
}

/** The followers give their leads what these then have beside their own. */
function foldIn(
  teams: readonly Team[],
  rank: number,
  given: (follower: number) => Share,
  effect: 'copy' | 'combine',
): Plan {
  return betweenTeamMates(teams, rank, (lead, follower) =>
    rank === follower
      ? { sends: transfers(given(follower), lead), receives: [] }
      : { sends: [], receives: arrivals(given(follower), follower, effect) },
  );
}

/** The leads give their followers the result. */
function handBack(teams: readonly Team[], rank: number, given: (follower: number) => Share): Plan {
  return betweenTeamMates(teams, rank, (lead, follower) =>
    rank === lead
      ? { sends: transfers(given(follower), follower), receives: [] }
      : { sends: [], receives: arrivals(given(follower), lead, 'copy') },
  );
}

/** One round between leads and followers, which nobody has where there are no followers. */
function betweenTeamMates(
  teams: readonly Team[],
  rank: number,
  round: (lead: number, follower: number) => Round,
): Plan {
  if (teams.every((team) => team.length === 1)) return [];
  const [lead, follower] = placeOf(teams, rank).team;
  return follower === undefined ? idle(1) : [round(lead, follower)];
}

/** From all shares to the own one: distance 1, 2, 4 … */
function halve(teams: readonly Team[], rank: number, shares: readonly Share[]): Plan {
  return exchanges(teams, rank, distances(teams), (index, partner, peer, distance) => ({
    sends: transfers(sharesLike(shares, partner, 2 * distance), peer),
    receives: arrivals(sharesLike(shares, index, 2 * distance), peer, 'combine'),
  }));
}

/** From the own share to all: distance …, 4, 2, 1. */
function double(teams: readonly Team[], rank: number, shares: readonly Share[]): Plan {
  return exchanges(teams, rank, distances(teams).reverse(), (index, partner, peer, distance) => ({
    sends: transfers(sharesLike(shares, index, 2 * distance), peer),
    receives: arrivals(sharesLike(shares, partner, 2 * distance), peer, 'copy'),
  }));
}

function exchanges(
  teams: readonly Team[],
  rank: number,
  order: readonly number[],
  round: (index: number, partner: number, peer: number, distance: number) => Round,
): Plan {
  const { index, team } = placeOf(teams, rank);
  const [lead] = team;
  if (lead !== rank) return idle(order.length);
  return order.map((distance) => {
    const partner = index ^ distance;
    const [peer] = teams[partner] ?? [];
    invariant(peer !== undefined, `team ${partner} has no lead`);
    return round(index, partner, peer, distance);
  });
}

function distances(teams: readonly Team[]): number[] {
  return Array.from({ length: Math.log2(teams.length) }, (_, step) => 2 ** step);
}

/** What belongs to the teams whose numbers have the same last digits as this one, in ascending order. */
function sharesLike(shares: readonly Share[], index: number, modulus: number): Share {
  return shares
    .filter((_, other) => other % modulus === index % modulus)
    .flat()
    .sort((left, right) => left.start - right.start);
}

/** A number with its binary digits in the opposite order. */
function mirrored(index: number, count: number): number {
  let result = 0;
  for (let bit = 1, rest = index; bit < count; bit *= 2, rest >>= 1) result = 2 * result + (rest & 1);
  return result;
}

function without(share: Share, { start }: ElementRange): Share {
  return share.filter((range) => range.start !== start);
}

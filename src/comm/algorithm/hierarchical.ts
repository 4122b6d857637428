import { invariant } from '../../base/errors.js';
import { type Hosts, hostIndex, laneMembers, lanesOf } from '../topology.js';
import type { Algorithm } from './algorithm.js';
import { arrivals, idle, joined, ownPart, type Plan, partOf, type Share, transfers } from './plan.js';
import { ringAllGather, ringAllReduce, ringReduceScatter } from './ring.js';

/**
 * First inside the hosts, then between them, then inside again. The ranks of a host first share the sum over the host
 * out among themselves; each then combines its lane with the ranks of the same lane on the other hosts, in a ring; and
 * a host's ranks tell each other the results. Between H hosts of L ranks a rank sends 2(H−1)/H of an L-th of an
 * all-reduce, where a flat ring has one rank of each host send nearly all of it twice.
 *
 * There are as many lanes as the smallest host has ranks; ranks beyond that hand in and get back.
 */
export const hierarchical: Algorithm = {
  plan({ collective, rank, hosts, elements }) {
    const place = placeOf(hosts, rank);
    const lanes = lanesOf(hosts);
    const part = (of: number): Share[number] => ownPart(elements, of, hosts);
    /** The parts of those ranks of a host whose results pass through a lane. */
    const partsIn = (host: readonly number[], lane: number): Share =>
      host.filter((_, index) => index % lanes === lane).map(part);
    const partsOfLane = (lane: number): Share => ascending(hosts.flatMap((host) => partsIn(host, lane)));
    const members = laneMembers(hosts, place.index);
    const betweenHosts = (plan: () => Plan, rounds: number): Plan =>
      place.index < lanes ? plan() : idle(rounds);
    switch (collective) {
      case 'all-reduce': {
        const lane = (index: number): Share[number] => partOf({ start: 0, end: elements }, index, lanes);
        const shares = hosts.map((_, host) => [partOf(lane(place.index), host, hosts.length)]);
        return [
          ...handIn(place, lanes, (index) => [lane(index)]),
          ...betweenHosts(() => ringAllReduce(members, rank, shares), 2 * (hosts.length - 1)),
          ...handOut(place, (index) => (index < lanes ? [lane(index)] : [])),
        ];
      }
      case 'reduce-scatter': {
        const shares = hosts.map((host) => partsIn(host, place.index));
        return [
          ...handIn(place, lanes, partsOfLane),
          ...betweenHosts(() => ringReduceScatter(members, rank, shares), hosts.length - 1),
          ...passOn(hosts, place, lanes, part, 'back'),
        ];
      }
      case 'all-gather': {
        const shares = hosts.map((host) => partsIn(host, place.index));
        const known = (index: number): Share => (index < lanes ? partsOfLane(index) : []);
        return joined([
          ...passOn(hosts, place, lanes, part, 'forth'),
          ...betweenHosts(() => ringAllGather(members, rank, shares), hosts.length - 1),
          ...handOut(place, known, part),
        ]);
      }
      default:
        return collective satisfies never;
    }
  },
  refuses: (hosts) =>
    hosts.length > 1 ? undefined : 'it goes between hosts, and all ranks are on one: a ring does the same',
};

/** A rank and the ranks of its host. */
interface Place {
  readonly rank: number;
  readonly host: readonly number[];
  /** Of the rank in its host. */
  readonly index: number;
}

function placeOf(hosts: Hosts, rank: number): Place {
  const host = hosts[hostIndex(hosts, rank)];
  invariant(host, `rank ${rank} is on no host`);
  return { rank, host, index: host.indexOf(rank) };
}

/** Everybody gives every lane of the host what is in it, at once. */
function handIn({ rank, host, index }: Place, lanes: number, contents: (lane: number) => Share): Plan {
  const others = host.filter((other) => other !== rank);
  return [
    {
      sends: host
        .slice(0, lanes)
        .flatMap((peer, lane) => (peer === rank ? [] : transfers(contents(lane), peer))),
      receives: index < lanes ? others.flatMap((peer) => arrivals(contents(index), peer, 'combine')) : [],
    },
  ];
}

/**
 * Every rank tells the others of its host what it knows, at once.
 *
 * @param part what of that a rank has itself
 */
function handOut(
  { rank, host, index }: Place,
  known: (index: number) => Share,
  part?: (rank: number) => Share[number],
): Plan {
  const beside = (share: Share, peer: number): Share =>
    share.filter(({ start }) => part === undefined || start !== part(peer).start);
  return [
    {
      sends: host.flatMap((peer) => (peer === rank ? [] : transfers(beside(known(index), peer), peer))),
      receives: host.flatMap((peer, other) =>
        peer === rank ? [] : arrivals(beside(known(other), rank), peer, 'copy'),
      ),
    },
  ];
}

/** Ranks without a lane of their own give their part to the lane it is in, or get it from there. */
function passOn(
  hosts: Hosts,
  { rank, host, index }: Place,
  lanes: number,
  part: (rank: number) => Share[number],
  way: 'forth' | 'back',
): Plan {
  if (hosts.every(({ length }) => length === lanes)) return [];
  const lead = host[index % lanes] ?? rank;
  const followers = index < lanes ? host.filter((_, other) => other >= lanes && other % lanes === index) : [];
  const own = lead === rank ? [] : [part(rank)];
  return way === 'forth'
    ? [
        {
          sends: transfers(own, lead),
          receives: followers.flatMap((peer) => arrivals([part(peer)], peer, 'copy')),
        },
      ]
    : [
        {
          sends: followers.flatMap((peer) => transfers([part(peer)], peer)),
          receives: arrivals(own, lead, 'copy'),
        },
      ];
}

function ascending(share: Share): Share {
  return [...share].sort((left, right) => left.start - right.start);
}

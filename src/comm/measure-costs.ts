import { noGrad } from '../tensor/autograd.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';
import { type CommunicationCosts, type LinearCost, lineThrough } from './communication-costs.js';
import { inTurns, meansOverRanks, seconds, slowest } from './measure-together.js';
import type { ProcessGroup } from './process-group.js';
import { type Neighbours, neighboursIn, RELAY_ROUNDS, relayOver } from './relay.js';
import type { SharedMemory } from './shared-memory.js';
import { type Hosts, hostIndex, laneMembers, lanesOf } from './topology.js';

/** In bytes; the smaller takes the time of a message, and what the larger takes more is that of bytes. */
const FEW = 1024;
const MANY = 1 << 22;

/** Between hosts the larger begins here, and grows so long as that takes hardly any time. */
const LEAST_MANY = 1 << 14;
const GROWTH = 2;

/** In seconds: beside a relay that takes so long it is little that ranks begin a few milliseconds apart. */
const TELLING = 0.06;
/**
 * How often it is tried whether one takes so long, where half of it took far less: what else a machine does must not look
 * like a slow link.
 */
const TRIALS = 3;
const FAR_LESS = 1 / 3;

/** In seconds: what all turns are to take together. */
const LONGEST = 0.25;

const FLOAT_BYTES = 4;

/** How many messages more a round has by which the cost of one is measured. */
const FURTHER = 3;

/** How often everything is measured, in turns, so that what else the machine does meets all alike; over slow links less often. */
const TURNS = 5;
const LEAST_TURNS = 2;

/**
 * Relays that are run before, so that what is measured is code that has been compiled, and in seconds for how long: where
 * one takes long, that code matters little.
 */
const WARM_UP = 30;
const LONGEST_WARM_UP = 0.05;

/** What is measured, in seconds. */
const NAMES = [
  'insideFew',
  'insideMany',
  'betweenFew',
  'betweenMany',
  'bothWays',
  'moreMessages',
  'backendFew',
  'backendMany',
  'sharedFew',
  'sharedMany',
  'combined',
] as const;

type Times = Readonly<Record<(typeof NAMES)[number], number>>;

/** What some ranks can reduce by. */
type Reducing = Pick<SharedMemory, 'allReduce' | 'allocate'>;

/**
 * Measures what messages, sums and collectives take, all ranks at once, as they work in a collective. It takes a
 * fraction of a second, whatever the links carry: by slow ones shorter messages go, and less often. Every rank must call
 * it; all get the same: of each time the mean of the ranks.
 *
 * @param shared of the ranks of this host, where every host has such
 */
export function measureCosts(transport: ProcessGroup, hosts: Hosts, shared?: Reducing): CommunicationCosts {
  return scope(() =>
    noGrad(() => {
      const place = placeOf(transport, hosts);
      const extent = extentOf(transport, place, hosts);
      const times = agree(transport, measure(transport, place, hosts, extent, shared));
      return costsFrom(times, extent, hosts, shared !== undefined);
    }),
  );
}

/** With whom a rank exchanges, on its host and between hosts. */
interface Place {
  readonly inside: Neighbours | undefined;
  readonly between: Neighbours | undefined;
}

function placeOf({ rank }: ProcessGroup, hosts: Hosts): Place {
  const own = hosts[hostIndex(hosts, rank)] ?? [rank];
  const lane = own.indexOf(rank);
  return {
    inside: neighboursIn(own, rank),
    // Ranks that not every host has have nobody to exchange with, and leave the link to the others.
    between: lane < lanesOf(hosts) ? neighboursIn(laneMembers(hosts, lane), rank) : undefined,
  };
}

/** How much is sent between hosts for a measurement, in bytes. */
interface Extent {
  /** The larger message of a relay. */
  readonly many: number;
  /** The larger tensor of the backend, which takes about as long. */
  readonly manyInBackend: number;
}

/** As much as the links between hosts carry in a time that tells something and is no burden. */
function extentOf(transport: ProcessGroup, { between }: Place, hosts: Hosts): Extent {
  if (hosts.length === 1) return { many: MANY, manyInBackend: MANY };
  const relay = relayOver(transport);
  let [many, took, before] = [LEAST_MANY, 0, 0];
  const isTelling = (): boolean => {
    const body = relay(between, many);
    before = took;
    for (let trial = 0; trial < TRIALS; trial += 1) {
      transport.barrier().wait();
      took = slowest(transport, body);
      if (took < TELLING) return false;
      if (before > FAR_LESS * took) return true;
    }
    return true;
  };
  while (many < MANY && !isTelling()) many *= GROWTH;
  // The ranks of an all-reduce send a link up to twice the tensor.
  return { many, manyInBackend: Math.min(MANY, (RELAY_ROUNDS * lanesOf(hosts) * many) / 2) };
}

function measure(
  transport: ProcessGroup,
  { inside, between }: Place,
  hosts: Hosts,
  { many, manyInBackend }: Extent,
  shared: Reducing | undefined,
): Times {
  const nearest = hosts.some(({ length }) => length > 1) ? inside : between;
  const relay = relayOver(transport);
  const reduce = (group: Reducing | undefined, bytes: number): (() => void) => {
    const values = group?.allocate(bytes / FLOAT_BYTES, 'float32');
    return () => values && group?.allReduce(values, 'sum').wait();
  };
  const [left, right] = [zeros([MANY / FLOAT_BYTES]), zeros([MANY / FLOAT_BYTES])];
  const bodies: Readonly<Record<keyof Times, () => void>> = {
    insideFew: relay(inside, FEW),
    insideMany: relay(inside, MANY),
    betweenFew: relay(between, FEW),
    betweenMany: relay(between, many),
    bothWays: relay(hosts.length > 2 ? between : undefined, many / 2, 1, [1, -1]),
    moreMessages: relay(nearest, FEW, 1 + FURTHER),
    backendFew: reduce(transport, FEW),
    backendMany: reduce(transport, manyInBackend),
    sharedFew: reduce(shared, FEW),
    sharedMany: reduce(shared, MANY),
    combined: () => void left.add_(right),
  };
  warmUp(transport, relay(nearest, FEW));
  const isThere = measurable(hosts, shared !== undefined);
  // What touches memory for the first time takes many times as long, and would be taken for all that there is time for.
  const cold = [
    'insideMany',
    'sharedMany',
    'combined',
    ...(many === MANY ? ['backendMany' as const] : []),
  ] as const;
  for (const name of cold) if (isThere[name]) bodies[name]();
  const turn = () =>
    byName((name) => {
      if (!isThere[name]) return undefined;
      // Otherwise a rank that is late for one measurement makes the next one longer.
      transport.barrier().wait();
      return seconds(bodies[name]);
    });
  const times = inTurns(transport, turn, {
    seconds: LONGEST,
    // Beside what takes so long, noise is little.
    least: (first) => (first > LONGEST ? 1 : LEAST_TURNS),
    most: TURNS,
  });
  return byName((name) => lowerQuartile(times.flatMap((each) => each[name] ?? [])) ?? 0);
}

/** Runs it equally often on all ranks: they exchange. */
function warmUp(transport: ProcessGroup, body: () => void): void {
  const first = slowest(transport, body);
  const more = Math.min(WARM_UP - 1, Math.floor(LONGEST_WARM_UP / first));
  for (let run = 0; run < more; run += 1) body();
}

/** What there is to measure where the ranks are so: the same on every rank. */
function measurable(hosts: Hosts, isShared: boolean): Readonly<Record<keyof Times, boolean>> {
  const isInside = hosts.some(({ length }) => length > 1);
  return {
    insideFew: isInside,
    insideMany: isInside,
    betweenFew: hosts.length > 1,
    betweenMany: hosts.length > 1,
    bothWays: hosts.length > 2,
    moreMessages: true,
    backendFew: true,
    backendMany: true,
    sharedFew: isShared,
    sharedMany: isShared,
    combined: true,
  };
}

/** Noise only adds; the very shortest may be luck. */
function lowerQuartile(values: readonly number[]): number | undefined {
  return [...values].sort((left, right) => left - right)[values.length >> 2];
}

function byName<Value>(value: (name: keyof Times) => Value): Readonly<Record<keyof Times, Value>> {
  return Object.fromEntries(NAMES.map((name) => [name, value(name)])) as Record<keyof Times, Value>;
}

function agree(transport: ProcessGroup, times: Times): Times {
  const means = meansOverRanks(
    transport,
    NAMES.map((name) => times[name]),
  );
  return byName((name) => means[NAMES.indexOf(name)] ?? Number.NaN);
}

function costsFrom(
  times: Times,
  { many, manyInBackend }: Extent,
  hosts: Hosts,
  isShared: boolean,
): CommunicationCosts {
  const largest = Math.max(...hosts.map(({ length }) => length));
  // In a relay so many ranks of a host send at once.
  const link = (ranks: number, bytes: number, fewTook: number, manyTook: number): LinearCost =>
    lineThrough([FEW * ranks, fewTook / RELAY_ROUNDS], [bytes * ranks, manyTook / RELAY_ROUNDS]);
  const oneMessage = largest > 1 ? times.insideFew : times.betweenFew;
  return {
    insideHost: link(largest, MANY, times.insideFew, times.insideMany),
    betweenHosts: link(lanesOf(hosts), many, times.betweenFew, times.betweenMany),
    ...(hosts.length > 2 && {
      betweenManyHosts: link(lanesOf(hosts), many, times.betweenFew, times.bothWays),
    }),
    perMessage: Math.max(0, times.moreMessages - oneMessage) / RELAY_ROUNDS / FURTHER,
    combinePerByte: times.combined / MANY,
    backend: lineThrough([FEW, times.backendFew], [manyInBackend, times.backendMany]),
    ...(isShared && { sharedMemory: lineThrough([FEW, times.sharedFew], [MANY, times.sharedMany]) }),
  };
}

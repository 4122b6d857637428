import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';
import { type CommunicationCosts, type LinearCost, lineThrough } from './communication-costs.js';
import type { ProcessGroup } from './process-group.js';
import { type Neighbours, neighboursIn, RELAY_ROUNDS, relayOver } from './relay.js';
import type { SharedMemory } from './shared-memory.js';
import { type Hosts, hostIndex, laneMembers, lanesOf } from './topology.js';

/** In bytes; the smaller takes the time of a message, and what the larger takes more is that of bytes. */
const FEW = 1024;
const MANY = 1 << 22;

/** Between hosts the larger begins here, and grows so long as that takes hardly any time. */
const LEAST_MANY = 1 << 16;
const GROWTH = 2;

/**
 * In seconds: beside a relay that takes so long it is little that ranks begin a few milliseconds apart, and all turns of one
 * are to take no longer than that, but for the two that tell noise from a slow link.
 */
const TELLING = 0.15;
const LONGEST = 0.2;

const FLOAT_BYTES = 4;

/** How many messages more a round has by which the cost of one is measured. */
const FURTHER = 3;

/** How often everything is measured, in turns, so that what else the machine does meets all alike; what is long, less often. */
const TURNS = 4;
const LEAST_TURNS = 2;

/**
 * Relays that are run before, so that what is measured is code that has been compiled, and in seconds for how long: where
 * one takes long, that code matters little.
 */
const WARM_UP = 30;
const LONGEST_WARM_UP = 0.1;

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

/** How much is sent between hosts for a measurement, and how often. */
interface Extent {
  /** In bytes: the larger message of a relay. */
  readonly many: number;
  /** In bytes: the larger tensor of the backend, which takes about as long. */
  readonly manyInBackend: number;
  readonly turns: number;
}

/** As much as the links between hosts carry in a time that tells something and is no burden. */
function extentOf(transport: ProcessGroup, { between }: Place, hosts: Hosts): Extent {
  if (hosts.length === 1) return { many: MANY, manyInBackend: MANY, turns: TURNS };
  const relay = relayOver(transport);
  for (let many = LEAST_MANY; ; many *= GROWTH) {
    const body = relay(between, many);
    const trial = (): number => {
      transport.barrier().wait();
      return slowest(transport, seconds(body));
    };
    // What else the machine does must not look like a slow link: only what is slow twice is one.
    const first = trial();
    const shortest = first < TELLING ? first : Math.min(first, trial());
    if (many < MANY && shortest < TELLING) continue;
    // The ranks of an all-reduce send a link up to twice the tensor.
    const manyInBackend = Math.min(MANY, (RELAY_ROUNDS * lanesOf(hosts) * many) / 2);
    return {
      many,
      manyInBackend,
      turns: Math.max(LEAST_TURNS, Math.min(TURNS, Math.floor(LONGEST / shortest))),
    };
  }
}

function measure(
  transport: ProcessGroup,
  { inside, between }: Place,
  hosts: Hosts,
  { many, manyInBackend, turns }: Extent,
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
    bothWays: relay(hosts.length > 2 ? between : undefined, many, 1, [1, -1]),
    moreMessages: relay(nearest, FEW, 1 + FURTHER),
    backendFew: reduce(transport, FEW),
    backendMany: reduce(transport, manyInBackend),
    sharedFew: reduce(shared, FEW),
    sharedMany: reduce(shared, MANY),
    combined: () => void left.add_(right),
  };
  warmUp(transport, relay(nearest, FEW));
  const isThere = measurable(hosts, shared !== undefined);
  const times = Array.from({ length: TURNS }, (_, turn) =>
    byName((name) => {
      if (!isThere[name] || (turn >= turns && isLong(name, hosts))) return undefined;
      // Otherwise a rank that is late for one measurement makes the next one longer.
      transport.barrier().wait();
      return seconds(bodies[name]);
    }),
  );
  return byName((name) => lowerQuartile(times.flatMap((turn) => turn[name] ?? [])) ?? 0);
}

/** Runs it equally often on all ranks: they exchange. */
function warmUp(transport: ProcessGroup, body: () => void): void {
  const first = slowest(transport, seconds(body));
  const more = Math.min(WARM_UP - 1, Math.floor(LONGEST_WARM_UP / first));
  for (let run = 0; run < more; run += 1) body();
}

/** Whether a measurement sends many bytes between hosts. */
function isLong(name: keyof Times, hosts: Hosts): boolean {
  return hosts.length > 1 && ['betweenMany', 'bothWays', 'backendMany'].includes(name);
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

function seconds(body: () => void): number {
  const startedMs = performance.now();
  body();
  return (performance.now() - startedMs) / 1000;
}

/** Noise only adds; the very shortest may be luck. */
function lowerQuartile(values: readonly number[]): number | undefined {
  return [...values].sort((left, right) => left - right)[values.length >> 2];
}

function byName<Value>(value: (name: keyof Times) => Value): Readonly<Record<keyof Times, Value>> {
  return Object.fromEntries(NAMES.map((name) => [name, value(name)])) as Record<keyof Times, Value>;
}

/** The same on all ranks. */
function slowest(transport: ProcessGroup, time: number): number {
  return scope(() => {
    const most = tensor(Float64Array.of(time));
    transport.allReduce(most, 'max').wait();
    return most.toArray()[0] ?? Number.NaN;
  });
}

/** The mean of the ranks: one that was early for a measurement has waited, and one that was late has not. */
function agree(transport: ProcessGroup, times: Times): Times {
  return scope(() => {
    const means = tensor(Float64Array.from(NAMES, (name) => times[name]));
    transport.allReduce(means, 'mean').wait();
    const values = means.toArray();
    return byName((name) => values[NAMES.indexOf(name)] ?? Number.NaN);
  });
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
      betweenManyHosts: link(lanesOf(hosts), 2 * many, times.betweenFew, times.bothWays),
    }),
    perMessage: Math.max(0, times.moreMessages - oneMessage) / RELAY_ROUNDS / FURTHER,
    combinePerByte: times.combined / MANY,
    backend: lineThrough([FEW, times.backendFew], [manyInBackend, times.backendMany]),
    ...(isShared && { sharedMemory: lineThrough([FEW, times.sharedFew], [MANY, times.sharedMany]) }),
  };
}

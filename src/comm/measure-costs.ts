import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';
import type { Plan } from './algorithm/plan.js';
import type { Direction } from './algorithm/ring.js';
import { type CommunicationCosts, type LinearCost, lineThrough } from './communication-costs.js';
import { MessageBuffers } from './message-buffers.js';
import { WholeMemory } from './plan-memory.js';
import type { ProcessGroup } from './process-group.js';
import { runPlan } from './run-plan.js';
import type { SharedMemory } from './shared-memory.js';
import { type Hosts, hostIndex, laneMembers, lanesOf } from './topology.js';

/** In bytes; the smaller takes the time of a message, and what the larger takes more is that of bytes. */
const FEW = 1024;
const MANY = 1 << 21;

const FLOAT_BYTES = 4;

/** Rounds of a relay: each waits for the one before, as in an algorithm. */
const ROUNDS = 3;

/** How many messages more a round has by which the cost of one is measured. */
const FURTHER = 3;

/** How often everything is measured, in turns, so that what else the machine does meets all alike. */
const TURNS = 5;

/** Relays that are run before, so that what is measured is code that has been compiled. */
const WARM_UP = 30;

const RELAY_TAG = 0x7d_0000;

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
 * fraction of a second. Every rank must call it; all get the same: of each time the mean of
 * the ranks.
 *
 * @param shared of the ranks of this host, where every host has such
 */
export function measureCosts(transport: ProcessGroup, hosts: Hosts, shared?: Reducing): CommunicationCosts {
  const times = scope(() => noGrad(() => measure(transport, hosts, shared)));
  return costsFrom(agree(transport, times), hosts, shared !== undefined);
}

function measure(transport: ProcessGroup, hosts: Hosts, shared: Reducing | undefined): Times {
  const { rank } = transport;
  const own = hosts[hostIndex(hosts, rank)] ?? [rank];
  const lane = own.indexOf(rank);
  const inside = neighboursIn(own, rank);
  // Ranks that not every host has have nobody to exchange with, and leave the link to the others.
  const between = lane < lanesOf(hosts) ? neighboursIn(laneMembers(hosts, lane), rank) : undefined;
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
    betweenMany: relay(between, MANY),
    bothWays: relay(hosts.length > 2 ? between : undefined, MANY / 2, 1, [1, -1]),
    moreMessages: relay(nearest, FEW, 1 + FURTHER),
    backendFew: reduce(transport, FEW),
    backendMany: reduce(transport, MANY),
    sharedFew: reduce(shared, FEW),
    sharedMany: reduce(shared, MANY),
    combined: () => void left.add_(right),
  };
  const warmUp = relay(nearest, FEW);
  for (let run = 0; run < WARM_UP; run += 1) warmUp();
  const isThere = measurable(hosts, shared !== undefined);
  const turns = Array.from({ length: TURNS }, () =>
    byName((name) => {
      if (!isThere[name]) return 0;
      // Otherwise a rank that is late for one measurement makes the next one longer.
      transport.barrier().wait();
      return seconds(bodies[name]);
    }),
  );
  return byName((name) => lowerQuartile(turns.map((turn) => turn[name])));
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

interface Neighbours {
  readonly next: number;
  readonly previous: number;
}

function neighboursIn(members: readonly number[], rank: number): Neighbours | undefined {
  const index = members.indexOf(rank);
  const { length } = members;
  const [next, previous] = [members[(index + 1) % length], members[(index + length - 1) % length]];
  if (index < 0 || next === undefined || previous === undefined || next === rank) return undefined;
  return { next, previous };
}

/** Makes bodies that let messages go round among neighbours; for a rank without any they do nothing. */
function relayOver(transport: ProcessGroup) {
  const buffers = new MessageBuffers();
  return (
    neighbours: Neighbours | undefined,
    bytes: number,
    messages = 1,
    ways: readonly Direction[] = [1],
  ): (() => void) => {
    if (neighbours === undefined) return () => {};
    const length = bytes / FLOAT_BYTES;
    const values = zeros([2 * ways.length * messages * length]);
    const plan = relayPlan(neighbours, length, messages, ways);
    const like = { dtype: 'float32', device: 'cpu' } as const;
    return () => {
      const memory = new WholeMemory(values, buffers);
      const stages = runPlan({ plan, transport, memory, buffers, reduction: 'sum', tag: RELAY_TAG, like });
      while (stages.next().done !== true);
      memory.dispose();
    };
  };
}

function relayPlan(
  { next, previous }: Neighbours,
  length: number,
  messages: number,
  ways: readonly Direction[],
): Plan {
  const places = (first: number) =>
    Array.from({ length: messages }, (_, index) => ({
      start: (first + index) * length,
      end: (first + index + 1) * length,
    }));
  return Array.from({ length: ROUNDS }, (_, round) => {
    const half = ways.length * messages;
    const [from, to] = round % 2 === 0 ? [0, half] : [half, 0];
    return {
      sends: ways.flatMap((way, index) =>
        places(from + index * messages).map((range) => ({ peer: way === 1 ? next : previous, ...range })),
      ),
      receives: ways.flatMap((way, index) =>
        places(to + index * messages).map((range) => ({
          peer: way === 1 ? previous : next,
          ...range,
          effect: 'copy' as const,
        })),
      ),
    };
  });
}

function seconds(body: () => void): number {
  const startedMs = performance.now();
  body();
  return (performance.now() - startedMs) / 1000;
}

/** Noise only adds; the very shortest may be luck. */
function lowerQuartile(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[values.length >> 2] ?? Number.NaN;
}

function byName(value: (name: keyof Times) => number): Times {
  return Object.fromEntries(NAMES.map((name) => [name, value(name)])) as Times;
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

function costsFrom(times: Times, hosts: Hosts, isShared: boolean): CommunicationCosts {
  const largest = Math.max(...hosts.map(({ length }) => length));
  // In a relay so many ranks of a host send at once.
  const link = (ranks: number, few: number, many: number): LinearCost =>
    lineThrough([FEW * ranks, few / ROUNDS], [MANY * ranks, many / ROUNDS]);
  const oneMessage = largest > 1 ? times.insideFew : times.betweenFew;
  return {
    insideHost: link(largest, times.insideFew, times.insideMany),
    betweenHosts: link(lanesOf(hosts), times.betweenFew, times.betweenMany),
    ...(hosts.length > 2 && { betweenManyHosts: link(lanesOf(hosts), times.betweenFew, times.bothWays) }),
    perMessage: Math.max(0, times.moreMessages - oneMessage) / ROUNDS / FURTHER,
    combinePerByte: times.combined / MANY,
    backend: lineThrough([FEW, times.backendFew], [MANY, times.backendMany]),
    ...(isShared && { sharedMemory: lineThrough([FEW, times.sharedFew], [MANY, times.sharedMany]) }),
  };
}

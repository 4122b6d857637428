import { noGrad } from '../tensor/autograd.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';
import { type CommunicationCosts, type LinearCost, lineThrough } from './communication-costs.js';
import { meansOverRanks } from './measure-together.js';
import { MeasuringTime, type Took } from './measuring-time.js';
import { nextProbe, type Probe } from './probe-size.js';
import type { ProcessGroup } from './process-group.js';
import { type Neighbours, neighboursIn, RELAY_ROUNDS, relayOver } from './relay.js';
import type { SharedMemory } from './shared-memory.js';
import { type Hosts, hostIndex, laneMembers, lanesOf } from './topology.js';

/** In bytes; the smaller takes the time of a message, and what the larger takes more is that of bytes. */
const FEW = 1024;
const MANY = 1 << 22;

/**
 * Where a larger message begins to grow: with a few packets, or, over links of much latency, with the bytes that a link of
 * 10 Mbit/s carries in the time that is lost in any case.
 */
const LEAST_MANY = 1 << 14;
const SLOW_BYTES_PER_SECOND = 10e6 / 8;

/** In seconds, for three rounds: beside that it is little that ranks begin a millisecond apart. */
const TELLING = 0.03;

/**
 * In seconds: what it may take to measure every link class, so that a start is not felt to wait for it. Each is measured
 * once whatever that takes, and more often so far as there is time.
 */
const LONGEST = 0.4;

const FLOAT_BYTES = 4;

/** How many messages more a round has by which the cost of one is measured. */
const FURTHER = 3;

/** How often everything is measured at most, in turns, so that what else the machine does meets all alike. */
const TURNS = 5;

/**
 * Relays that are run before, so that what is measured is code that has been compiled, and in seconds for how long: where
 * one takes long, that code matters little.
 */
const WARM_UP = 30;
const LONGEST_WARM_UP = 0.03;

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
 * third of a second, whatever the links carry: by slow ones shorter messages go, and less often. Every rank must call
 * it; all get the same: of each time the mean of the ranks.
 *
 * @param shared of the ranks of this host, where every host has such
 */
export function measureCosts(transport: ProcessGroup, hosts: Hosts, shared?: Reducing): CommunicationCosts {
  return scope(() =>
    noGrad(() => {
      const measuring = new Measuring(transport, hosts, shared);
      const extent = measuring.grow();
      measuring.takeTurns(extent);
      return costsFrom(agree(transport, measuring.times()), extent, hosts, shared !== undefined);
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

/** The larger of two messages in a measurement, in bytes. */
interface Extent {
  readonly inside: number;
  readonly between: number;
  /** The tensor of the backend, which takes about as long. */
  readonly backend: number;
}

/** Takes times while there is time, the same on every rank. */
class Measuring {
  readonly #place: Place;
  readonly #isThere: Readonly<Record<keyof Times, boolean>>;
  readonly #relay: ReturnType<typeof relayOver>;
  readonly #time: MeasuringTime;
  readonly #taken = new Map<keyof Times, Took[]>();

  constructor(
    readonly transport: ProcessGroup,
    readonly hosts: Hosts,
    readonly shared: Reducing | undefined,
  ) {
    this.#place = placeOf(transport, hosts);
    this.#isThere = measurable(hosts, shared !== undefined);
    this.#relay = relayOver(transport);
    this.#time = new MeasuringTime(transport, LONGEST);
  }

  /** On this rank. */
  times(): Times {
    return byName((name) => lowerQuartile((this.#taken.get(name) ?? []).map(({ own }) => own)) ?? 0);
  }

  /** Finds out by how long messages each link class is to be measured, and measures it by them. */
  grow(): Extent {
    const { inside, between } = this.#place;
    this.#warmUp();
    // First the slower one, by which more depends on what is measured.
    const betweenBytes = this.#growMessages(between, 'betweenFew', 'betweenMany');
    const insideBytes = this.#growMessages(inside, 'insideFew', 'insideMany');
    const slower = this.hosts.length > 1 ? lanesOf(this.hosts) * betweenBytes : insideBytes;
    // The ranks of an all-reduce send a link up to twice the tensor.
    const backend = Math.min(MANY, (RELAY_ROUNDS * slower) / 2);
    return { inside: insideBytes, between: betweenBytes, backend };
  }

  takeTurns(extent: Extent): void {
    const bodies = this.#bodies(extent);
    for (let turn = 1; turn <= TURNS; turn += 1) {
      for (const name of NAMES) {
        const taken = this.#taken.get(name) ?? [];
        const isAffordable = (taken.at(-1)?.slowest ?? 0) <= this.#time.left;
        if (this.#isThere[name] && taken.length < turn && isAffordable) this.#take(name, bodies[name]);
      }
    }
  }

  #take(name: keyof Times, body: () => void): number {
    const took = this.#time.take(body);
    this.#taken.set(name, [...(this.#taken.get(name) ?? []), took]);
    return took.slowest;
  }

  #warmUp(): void {
    const body = this.#relay(this.#nearest(), FEW);
    const { slowest } = this.#time.take(body);
    const more = Math.min(WARM_UP - 1, Math.floor(LONGEST_WARM_UP / slowest));
    // Equally often on all ranks: they exchange.
    for (let run = 0; run < more; run += 1) body();
  }

  #growMessages(neighbours: Neighbours | undefined, few: keyof Times, many: keyof Times): number {
    if (!this.#isThere[few]) return MANY;
    const tookFew = this.#take(few, this.#relay(neighbours, FEW));
    const tried: Probe[] = [{ bytes: FEW, seconds: tookFew }];
    const least = leastAfter(tookFew);
    const next = (): number | undefined =>
      nextProbe(tried, { least, most: MANY, telling: TELLING, left: this.#time.left });
    for (let bytes = next(); bytes !== undefined; bytes = next()) {
      // Of the messages that are shorter than the last nothing is kept.
      if (bytes !== tried.at(-1)?.bytes) this.#taken.delete(many);
      tried.push({ bytes, seconds: this.#take(many, this.#relay(neighbours, bytes)) });
    }
    return tried.at(-1)?.bytes ?? FEW;
  }

  #nearest(): Neighbours | undefined {
    return this.#isThere.insideFew ? this.#place.inside : this.#place.between;
  }

  #bodies({ inside, between, backend }: Extent): Readonly<Record<keyof Times, () => void>> {
    const { transport, shared } = this;
    const place = this.#place;
    const relay = this.#relay;
    const reduce = (group: Reducing | undefined, bytes: number): (() => void) => {
      const values = group?.allocate(bytes / FLOAT_BYTES, 'float32');
      return () => values && group?.allReduce(values, 'sum').wait();
    };
    const [left, right] = [zeros([MANY / FLOAT_BYTES]), zeros([MANY / FLOAT_BYTES])];
    const manyHosts = this.#isThere.bothWays ? place.between : undefined;
    return {
      insideFew: relay(place.inside, FEW),
      insideMany: relay(place.inside, inside),
      betweenFew: relay(place.between, FEW),
      betweenMany: relay(place.between, between),
      bothWays: relay(manyHosts, between, 1, [1, -1]),
      moreMessages: relay(this.#nearest(), FEW, 1 + FURTHER),
      backendFew: reduce(transport, FEW),
      backendMany: reduce(transport, backend),
      sharedFew: reduce(shared, FEW),
      sharedMany: reduce(shared, MANY),
      combined: () => void left.add_(right),
    };
  }
}

/** A power of two, between the shortest and the longest. */
function leastAfter(fewTook: number): number {
  const lost = (fewTook / RELAY_ROUNDS) * SLOW_BYTES_PER_SECOND;
  return Math.min(MANY, Math.max(LEAST_MANY, 2 ** Math.floor(Math.log2(lost))));
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

function costsFrom(times: Times, extent: Extent, hosts: Hosts, isShared: boolean): CommunicationCosts {
  const { inside, between, backend } = extent;
  const largest = Math.max(...hosts.map(({ length }) => length));
  // In a relay so many ranks of a host send at once.
  const link = (ranks: number, bytes: number, fewTook: number, manyTook: number): LinearCost =>
    lineThrough([FEW * ranks, fewTook / RELAY_ROUNDS], [bytes * ranks, manyTook / RELAY_ROUNDS]);
  const oneMessage = largest > 1 ? times.insideFew : times.betweenFew;
  return {
    insideHost: link(largest, inside, times.insideFew, times.insideMany),
    betweenHosts: link(lanesOf(hosts), between, times.betweenFew, times.betweenMany),
    ...(hosts.length > 2 && {
      betweenManyHosts: link(lanesOf(hosts), 2 * between, times.betweenFew, times.bothWays),
    }),
    perMessage: Math.max(0, times.moreMessages - oneMessage) / RELAY_ROUNDS / FURTHER,
    combinePerByte: times.combined / MANY,
    backend: lineThrough([FEW, times.backendFew], [backend, times.backendMany]),
    ...(isShared && { sharedMemory: lineThrough([FEW, times.sharedFew], [MANY, times.sharedMany]) }),
  };
}

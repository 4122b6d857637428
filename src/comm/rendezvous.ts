import { TrainyardError } from '../base/errors.js';
import type { NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';
import { connectExchange, type ExchangeWish } from './connect-exchange.js';
import { Flight } from './flight/flight.js';
import { NoticeBoard, type StoreExchange } from './flight/notice-board.js';
import { GlooGroup } from './process-group/gloo.js';
import { RecordedGroup } from './process-group/recorded.js';
import { SingleGroup } from './process-group/single.js';
import type { ProcessGroup } from './process-group.js';
import { type Hosts, hostsAmong } from './topology.js';

/** This rank's place among the ranks of a run, as a launcher gives it. */
export interface RendezvousOptions {
  readonly rank: number;
  readonly worldSize: number;
  /** Where the store listens. */
  readonly masterAddress: string;
  readonly masterPort: number;
  /** The launcher hosts the store (torchrun's agent may); else rank 0 does. */
  readonly storeIsHosted: boolean;
  /** Distinct for every start of every run: the prefix of all keys. */
  readonly runId: string;
  readonly networkInterface: string;
  /** How collectives are done; left out: the transport does everything. */
  readonly exchange?: ExchangeWish | undefined;
  /** The deadline for all ranks to come, and for every collective after that. */
  readonly timeoutMs: number;
  /** Remembers what this rank does; left out: one whose record goes among the temporary files. */
  readonly flight?: Flight | undefined;
}

/** The ranks of a run, connected. */
export interface Ranks {
  /** All of them. */
  readonly world: ProcessGroup;
  /**
   * Some of them as a group of their own, in which they are numbered by their order here. Every member must call it, and
   * all that are members of several in the same order. It is closed before `world`.
   *
   * @param name what it is for, in messages ("tensor")
   * @param hosts the members of each host, as ranks of the world; left out: as the launchers say
   */
  among(name: string, members: readonly number[], hosts?: Hosts): ProcessGroup;
}

/** As `meetRanks`, for those who need the group of all ranks alone. */
export function rendezvous(options: RendezvousOptions): ProcessGroup {
  return meetRanks(options).world;
}

/**
 * Waits until every rank is there and connects them.
 *
 * @throws TrainyardError RENDEZVOUS_FAILED with the ranks that are missing, or the reason why the store cannot
 * be reached
 */
export function meetRanks(options: RendezvousOptions): Ranks {
  if (options.worldSize === 1) return { world: new SingleGroup(), among: () => new SingleGroup() };
  const deadlineMs = performance.now() + options.timeoutMs;
  const store = openStore(options);
  meet(store, options, deadlineMs);
  const { runId: run, rank, worldSize } = options;
  const { flight = new Flight({ run, rank, worldSize }) } = options;
  const exchange: StoreExchange = (...words) => native.storeExchange(store, ...words);
  flight.connect(new NoticeBoard(exchange, { run, rank, worldSize }, options.storeIsHosted));
  return {
    world: new RecordedGroup(
      connect(store, options, flight, () => native.closeStore(store)),
      flight,
    ),
    among(name, members, hosts) {
      if (members.length === 1) return new SingleGroup();
      const place = placeAmong(options, name, members, hosts);
      const label = `${name} (ranks ${members.join(', ')})`;
      return new RecordedGroup(
        connect(store, place, flight, () => {}),
        flight,
        label,
      );
    },
  };
}

/** What a rank says where it connects with some of the others only. */
function placeAmong(
  options: RendezvousOptions,
  name: string,
  members: readonly number[],
  hosts: Hosts | undefined,
): RendezvousOptions {
  const { exchange, runId, rank, worldSize } = options;
  const share = members.length / worldSize;
  const own = hosts && hostsAmong(hosts, members);
  return {
    ...options,
    rank: members.indexOf(rank),
    worldSize: members.length,
    runId: `${runId}/${name}/${members[0]}`,
    exchange: exchange && {
      ...exchange,
      hosts: own,
      // What goes between hosts goes inside of one as it does there: in shared memory.
      algorithm: exchange.algorithm === 'hierarchical' && own?.length === 1 ? 'auto' : exchange.algorithm,
      // Of the cores, the others have their share.
      cores: Math.max(1, Math.floor(exchange.cores * share)),
    },
  };
}

function connect(
  store: NativeObject,
  options: RendezvousOptions,
  flight: Flight,
  closeStore: () => void,
): ProcessGroup {
  const gloo = connectGloo(store, options, flight, closeStore);
  const { exchange } = options;
  if (exchange === undefined) return gloo;
  try {
    const { runId, rank, worldSize, timeoutMs } = options;
    const place = { ...exchange, rank, worldSize, timeoutMs };
    return connectExchange(store, `${runId}/exchange`, place, gloo);
  } catch (error) {
    gloo.close();
    if (error instanceof TrainyardError && OWN_CODES.includes(error.code)) throw error;
    const what = 'The ranks met but could not agree on how to exchange.';
    throw failed(options, what, error, 'see the output of the other ranks');
  }
}

function connectGloo(
  store: NativeObject,
  options: RendezvousOptions,
  flight: Flight,
  closeStore: () => void,
): GlooGroup {
  const { rank, worldSize, networkInterface, timeoutMs } = options;
  const place = { rank, worldSize, networkInterface, timeoutMs, look: () => flight.look() };
  try {
    return new GlooGroup(store, `${options.runId}/gloo`, place, closeStore);
  } catch (error) {
    throw failed(options, 'The ranks met but could not connect to each other.', error, CURE_INTERFACE);
  }
}

/** Errors that say enough. */
const OWN_CODES: readonly string[] = ['CONFIG_CONFLICT', 'RENDEZVOUS_FAILED'];

const CURE_INTERFACE =
  'set GLOO_SOCKET_IFNAME to the network interface by which the hosts reach each other, and see the other ranks';

function openStore(options: RendezvousOptions): NativeObject {
  const { rank, masterAddress: host, masterPort: port, timeoutMs } = options;
  const isServer = rank === 0 && !options.storeIsHosted;
  try {
    return native.createStore({ host, port, isServer, timeoutMs });
  } catch (error) {
    const what = isServer
      ? `Rank 0 cannot serve the store at ${host}:${port}.`
      : `The store at ${host}:${port} did not answer within ${timeoutMs / 1000} s.`;
    const cure = isServer
      ? 'choose another MASTER_PORT: this one is taken, or MASTER_ADDR is not an address of this host'
      : 'see whether rank 0 runs, and that MASTER_ADDR and MASTER_PORT are the same for every rank';
    throw failed(options, what, error, cure);
  }
}

/** Says that this rank is here and waits for the others. */
function meet(store: NativeObject, options: RendezvousOptions, deadlineMs: number): void {
  try {
    if (native.storeAdd(store, presenceOf(options.rank, options), 1) > 1) throw taken(options);
    const missing = missingAt(store, options, deadlineMs);
    if (missing.length === 0) return;
    giveUp(store, options, missing);
    throw absent(options, missing);
  } catch (error) {
    if (error instanceof TrainyardError && error.code === 'RENDEZVOUS_FAILED') throw error;
    throw failed(
      options,
      'The store went away while the ranks were meeting.',
      error,
      'see the output of rank 0',
    );
  }
}

const presenceOf = (rank: number, { runId }: RendezvousOptions): string => `${runId}/present/${rank}`;

/** How often a rank came is the value under its key. A zero there says that another rank gave up waiting for it. */
function missingAt(store: NativeObject, options: RendezvousOptions, deadlineMs: number): readonly number[] {
  const ranks = Array.from({ length: options.worldSize }, (_, rank) => rank);
  const everybodyCame = ranks.every((rank) => {
    const key = presenceOf(rank, options);
    const leftMs = Math.max(1, Math.ceil(deadlineMs - performance.now()));
    return native.storeWait(store, key, leftMs) && native.storeAdd(store, key, 0) > 0;
  });
  return everybodyCame
    ? []
    : ranks.filter((rank) => native.storeAdd(store, presenceOf(rank, options), 0) === 0);
}

/** The store lives in rank 0, so a rank that leaves signs off, and rank 0 waits for those that know less than it. */
function giveUp(store: NativeObject, options: RendezvousOptions, missing: readonly number[]): void {
  const keyOf = (rank: number): string => `${options.runId}/left/${rank}`;
  native.storeAdd(store, keyOf(options.rank), 1);
  if (options.rank !== 0) return;
  const leaveMs = performance.now() + SIGN_OFF_MS;
  for (let rank = 1; rank < options.worldSize; rank++)
    if (!missing.includes(rank))
      native.storeWait(store, keyOf(rank), Math.max(1, Math.ceil(leaveMs - performance.now())));
}

const SIGN_OFF_MS = 10_000;

function absent(options: RendezvousOptions, missing: readonly number[]): TrainyardError {
  const names = missing.length === 1 ? `Rank ${missing[0]} did` : `Ranks ${missing.join(', ')} did`;
  return new TrainyardError('RENDEZVOUS_FAILED', {
    what: `${names} not come within ${options.timeoutMs / 1000} s.`,
    where: placeOf(options),
    expected: `${options.worldSize} ranks`,
    got: `${options.worldSize - missing.length} ranks`,
    cure: 'see the output of the missing ranks, or allow more time with communication.timeout_seconds',
  });
}

function taken(options: RendezvousOptions): TrainyardError {
  return new TrainyardError('RENDEZVOUS_FAILED', {
    what: `Another process of this run already is rank ${options.rank}.`,
    where: placeOf(options),
    cure: 'give every process its own RANK, and every run its own MASTER_PORT',
  });
}

function failed(options: RendezvousOptions, what: string, cause: unknown, cure: string): TrainyardError {
  const reason = cause instanceof TrainyardError ? cause.report.what : String(cause);
  const report = { what, where: placeOf(options), got: reason.split('\n')[0] ?? '', cure };
  return new TrainyardError('RENDEZVOUS_FAILED', report, { cause });
}

function placeOf({ rank, worldSize, masterAddress, masterPort }: RendezvousOptions): string {
  return `rank ${rank} of ${worldSize}, store ${masterAddress}:${masterPort}`;
}

import { TrainyardError } from '../base/errors.js';
import type { NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';
import { ALGORITHM_NAMES, ALGORITHMS, type AlgorithmName } from './algorithm.js';
import type { ChooseAlgorithm } from './choose-algorithm.js';
import { createChooser } from './choose-algorithm.js';
import type { CommunicationCosts } from './communication-costs.js';
import { connectSharedMemory } from './connect-shared-memory.js';
import { measureCosts } from './measure-costs.js';
import { measureSums } from './measure-sums.js';
import { OrderedGroup } from './ordered-group.js';
import { PlannedGroup } from './process-group/planned.js';
import { SharedMemoryGroup } from './process-group/shared-memory.js';
import type { ProcessGroup } from './process-group.js';
import type { SharedMemory } from './shared-memory.js';
import { agreedHosts, type Hosts, hostIndex, isRegular } from './topology.js';

/** `communication.algorithm`. */
export type CommunicationAlgorithm = 'auto' | 'backend' | 'shared-memory' | AlgorithmName;

/** How a rank wants collectives to be done. All ranks want the same. */
export interface ExchangeWish {
  readonly algorithm: CommunicationAlgorithm;
  /** Which ranks share a host; left out: those whose launcher says the same. */
  readonly hosts?: Hosts | undefined;
  /** What this rank's launcher calls its host, and how many ranks it has put there. */
  readonly hostName: string;
  readonly localWorldSize: number;
  /** Sums must be made in the order of ranks. */
  readonly inOrder: boolean;
  /** Told what comes otherwise than it might. */
  readonly onNote?: (note: string) => void;
  /** Told what was measured, where algorithms are chosen by it. */
  readonly onCosts?: (costs: CommunicationCosts) => void;
  /** Cores that this process may use. */
  readonly cores: number;
  /** Threads that each rank computes with. */
  readonly threadsPerRank: number;
}

/** What is known of a rank and its wish. */
export interface ExchangePlace extends ExchangeWish {
  readonly rank: number;
  readonly worldSize: number;
  readonly timeoutMs: number;
}

/**
 * Turns a wish into a group, over a transport that reaches all ranks: shared memory where all ranks are to have it;
 * else algorithms of our own over messages, one for all or, where none is named, for each collective the one that is
 * predicted to be fastest.
 *
 * @param prefix for the keys in the store
 * @param transport is closed with the group
 * @throws TrainyardError CONFIG_CONFLICT for an algorithm that cannot work where the ranks are, RENDEZVOUS_FAILED where
 * they cannot share memory and have to
 */
export function connectExchange(
  store: NativeObject,
  prefix: string,
  place: ExchangePlace,
  transport: ProcessGroup,
): ProcessGroup {
  const { algorithm, hosts: given, inOrder } = place;
  const isOneHost = given === undefined || given.length === 1;
  switch (algorithm) {
    case 'backend':
      return inOrder ? new OrderedGroup(transport) : transport;
    case 'shared-memory':
    case 'auto': {
      const shared = isOneHost
        ? shareAmong(store, `${prefix}/all`, place, allRanks(place))
        : 'communication.topology says that they are on several hosts';
      if (typeof shared !== 'string') return new SharedMemoryGroup(shared, transport);
      if (algorithm === 'shared-memory') throw unshared(place, shared);
      if (isOneHost) place.onNote?.(`the ranks exchange messages, for they cannot share memory: ${shared}`);
      return inOrder ? new OrderedGroup(transport) : connectPlanned(store, prefix, place, transport);
    }
    case 'ring':
    case 'bidirectional-ring':
    case 'halving-doubling':
    case 'hierarchical':
      return connectPlanned(store, prefix, place, transport);
    default:
      return algorithm satisfies never;
  }
}

function connectPlanned(
  store: NativeObject,
  prefix: string,
  place: ExchangePlace,
  transport: ProcessGroup,
): ProcessGroup {
  const { algorithm } = place;
  const hosts = place.hosts ?? readHosts(store, `${prefix}/host`, place);
  const pinned = ALGORITHM_NAMES.find((name) => name === algorithm);
  if (pinned !== undefined) demandFitting(pinned, hosts);
  const mayUseMemory = pinned === undefined || pinned === 'hierarchical';
  const shared = mayUseMemory ? shareInsideHosts(store, prefix, place, hosts) : undefined;
  const choose = pinned === undefined ? measuredChoice(place, transport, hosts, shared) : () => pinned;
  return new PlannedGroup({ transport, hosts, choose, shared });
}

function measuredChoice(
  { onCosts }: ExchangePlace,
  transport: ProcessGroup,
  hosts: Hosts,
  shared: SharedMemory | undefined,
): ChooseAlgorithm {
  const parts = measureCosts(transport, hosts, shared);
  const costs = { ...parts, sums: measureSums(transport, hosts, parts, shared) };
  onCosts?.(costs);
  return createChooser(hosts, costs);
}

function demandFitting(algorithm: AlgorithmName, hosts: Hosts): void {
  const reason = ALGORITHMS[algorithm].refuses(hosts);
  if (reason === undefined) return;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: `The algorithm "${algorithm}" cannot work with these ranks.`,
    where: 'communication.algorithm',
    got: reason,
    cure: 'choose another one or "auto", or say in communication.topology which ranks share a host',
  });
}

/**
 * The memory of this host's ranks, where every host has such: all ranks must do the inner stages of a collective in
 * the same way.
 */
function shareInsideHosts(
  store: NativeObject,
  prefix: string,
  place: ExchangePlace,
  hosts: Hosts,
): SharedMemory | undefined {
  const index = hostIndex(hosts, place.rank);
  const ranks = hosts[index] ?? [];
  if (hosts.length === 1 || ranks.length === 1 || !isRegular(hosts)) return undefined;
  const shared = shareAmong(store, `${prefix}/inside/${index}`, place, ranks);
  const keyOf = (rank: number): string => `${prefix}/inside/outcome/${rank}`;
  native.storeSet(store, keyOf(place.rank), typeof shared === 'string' ? shared : '');
  const outcomes = allRanks(place).map((rank) => native.storeGet(store, keyOf(rank), place.timeoutMs));
  if (typeof shared !== 'string' && outcomes.every((reason) => reason === '')) return shared;
  if (typeof shared !== 'string') shared.close();
  const refusal = outcomes.find((reason) => reason !== '');
  place.onNote?.(`the ranks of one host exchange messages, for they cannot share memory: ${refusal}`);
  return undefined;
}

function shareAmong(
  store: NativeObject,
  prefix: string,
  { rank, worldSize, timeoutMs, cores, threadsPerRank }: ExchangePlace,
  members: readonly number[],
): SharedMemory | string {
  return connectSharedMemory(store, prefix, { rank, worldSize, members, timeoutMs, cores, threadsPerRank });
}

/** Which ranks share a host, as their launchers say. */
function readHosts(store: NativeObject, prefix: string, place: ExchangePlace): Hosts {
  const { rank, hostName, localWorldSize, timeoutMs, onNote } = place;
  const own = JSON.stringify([hostName, localWorldSize]);
  native.storeSet(store, `${prefix}/${rank}`, own);
  const said = allRanks(place).map((other) => {
    const [name, ranks] = JSON.parse(native.storeGet(store, `${prefix}/${other}`, timeoutMs)) as [
      string,
      number,
    ];
    return { name, ranks };
  });
  const hosts = agreedHosts(said);
  if (hosts !== undefined) return hosts;
  onNote?.(
    'the launcher contradicts itself on which ranks share a host: each is taken to be alone; see communication.topology',
  );
  return allRanks(place).map((other) => [other]);
}

function allRanks({ worldSize }: ExchangePlace): readonly number[] {
  return Array.from({ length: worldSize }, (_, rank) => rank);
}

function unshared({ rank, worldSize }: ExchangePlace, reason: string): TrainyardError {
  return new TrainyardError('RENDEZVOUS_FAILED', {
    what: 'The ranks cannot share memory, as communication.algorithm asks.',
    where: `rank ${rank} of ${worldSize}`,
    got: reason,
    cure: 'start all ranks on one host, in one container and as one user, or set communication.algorithm to "auto"',
  });
}

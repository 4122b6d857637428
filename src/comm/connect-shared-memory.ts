import { TrainyardError } from '../base/errors.js';
import type { NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';
import { SharedMemory } from './shared-memory.js';

export interface SharedMemoryPlace {
  /** Among all. */
  readonly rank: number;
  readonly worldSize: number;
  /** The ranks that are to share. */
  readonly members: readonly number[];
  readonly timeoutMs: number;
  /** Cores that this process may use. */
  readonly cores: number;
  /** Threads that each rank computes with. */
  readonly threadsPerRank: number;
}

/** From here on an operation is worth waking a thread for. */
const BESIDE_FROM_BYTES = 1 << 18;

/**
 * Tries to share memory with other ranks, all of a group or those of one host, which try at the same time. They agree: where one
 * cannot reach the memory of the first, because it is on another host or in a container of its own, none uses it.
 *
 * @param prefix for the keys in the store; no two groups share one
 * @returns the memory, or why there is none
 */
export function connectSharedMemory(
  store: NativeObject,
  prefix: string,
  place: SharedMemoryPlace,
): SharedMemory | string {
  const { members, timeoutMs, cores, threadsPerRank } = place;
  const [rank, worldSize] = [members.indexOf(place.rank), members.length];
  const attempt = open(store, `${prefix}/address`, { rank, worldSize, timeoutMs, cores });
  native.storeSet(store, `${prefix}/outcome/${rank}`, typeof attempt === 'string' ? attempt : '');
  const outcomes = Array.from({ length: worldSize }, (_, other) =>
    native.storeGet(store, `${prefix}/outcome/${other}`, timeoutMs),
  );
  const refusal = outcomes.findIndex((reason) => reason !== '');
  if (typeof attempt === 'string' || refusal >= 0) {
    if (typeof attempt !== 'string') native.closeSharedGroup(attempt);
    return `rank ${members[refusal]}: ${outcomes[refusal]}`;
  }
  native.meetSharedGroup(attempt);
  const besideFromBytes = cores > worldSize * threadsPerRank ? BESIDE_FROM_BYTES : Number.POSITIVE_INFINITY;
  return new SharedMemory(attempt, {
    rank,
    worldSize,
    members,
    allRanks: place.worldSize,
    timeoutMs,
    besideFromBytes,
  });
}

/**
 * How often a rank looks for the others before it sleeps: some 80 µs, or where ranks share cores so many turns of the
 * scheduler, each of which goes to a rank that has something to do, and costs less than being woken.
 */
const LOOKS = { ownCore: 4000, sharedCore: 200 } as const;

function open(
  store: NativeObject,
  addressKey: string,
  { rank, worldSize, timeoutMs, cores }: Omit<SharedMemoryPlace, 'members' | 'threadsPerRank'>,
): NativeObject | string {
  const yields = worldSize > cores;
  const looks = yields ? LOOKS.sharedCore : LOOKS.ownCore;
  const options = { rank, worldSize, timeoutMs, looks, yields };
  try {
    if (rank > 0) {
      const address = native.storeGet(store, addressKey, timeoutMs);
      return address === ''
        ? 'the first rank shares no memory'
        : native.createSharedGroup({ ...options, address });
    }
    const group = native.createSharedGroup({ ...options, address: '' });
    native.storeSet(store, addressKey, native.sharedGroupAddress(group));
    return group;
  } catch (error) {
    if (rank === 0) native.storeSet(store, addressKey, '');
    return error instanceof TrainyardError ? error.report.what : String(error);
  }
}

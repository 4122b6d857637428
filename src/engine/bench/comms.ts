import { env } from '../../base/env.js';
import type { ProcessGroup } from '../../comm/process-group.js';
import { rendezvous } from '../../comm/rendezvous.js';
import type { RankEnvironment } from '../../launch/environment.js';
import { threadBudget } from '../../launch/threads.js';
import { setThreads } from '../../tensor/threads.js';

/** What an all-reduce of one size took, in turns by each algorithm. */
export interface CommunicationTimes {
  readonly bytes: number;
  /** Microseconds by algorithm: the median of the rounds' medians. */
  readonly median_us: Readonly<Record<string, number>>;
  /** The backend's time divided by the algorithm's: the median over the rounds. */
  readonly times_backend: Readonly<Record<string, number>>;
}

const TIMEOUT_MS = 60_000;

/** Bytes that the repetitions of one round move at most, and how many there are at least and at most. */
const BYTES_PER_ROUND = 1 << 28;
const LEAST_REPETITIONS = 5;
const MOST_REPETITIONS = 300;

/** Measures fp32 all-reduces between the ranks of one host. Every rank must call it, and gets its own times. */
export function benchComms(
  environment: RankEnvironment,
  sizes: readonly number[],
  rounds: number,
): readonly CommunicationTimes[] {
  const { cores, threadsPerRank } = threadBudget(environment.localWorldSize, env.variables);
  setThreads(threadsPerRank);
  const backend = rendezvous({ ...environment, timeoutMs: TIMEOUT_MS });
  const sharedMemory = rendezvous({
    ...environment,
    runId: `${environment.runId}/second`,
    // The first group's store serves both.
    storeIsHosted: true,
    timeoutMs: TIMEOUT_MS,
    sharedMemory: { isRequired: true, cores, threadsPerRank },
  });
  const groups = { backend, 'shared-memory': sharedMemory };
  const times = sizes.map((bytes) => measureSize(groups, bytes, rounds));
  sharedMemory.close();
  backend.close();
  return times;
}

function measureSize(
  groups: Readonly<Record<string, ProcessGroup>>,
  bytes: number,
  rounds: number,
): CommunicationTimes {
  const names = Object.keys(groups);
  const measured = Array.from({ length: rounds }, () =>
    Object.fromEntries(
      Object.entries(groups).map(([name, group]) => [name, medianMicroseconds(group, bytes)]),
    ),
  );
  const over = (value: (round: Readonly<Record<string, number>>) => number): number =>
    middle(measured.map(value));
  return {
    bytes,
    median_us: byName(names, (name) => over((round) => round[name] ?? Number.NaN)),
    times_backend: byName(names, (name) =>
      over(({ backend = Number.NaN, [name]: own = Number.NaN }) => backend / own),
    ),
  };
}

/** Each call comes after a barrier, so that no rank waits for one that comes late. */
function medianMicroseconds(group: ProcessGroup, bytes: number): number {
  const repetitions = Math.min(
    MOST_REPETITIONS,
    Math.max(LEAST_REPETITIONS, Math.floor(BYTES_PER_ROUND / bytes)),
  );
  const tensor = group.allocate(bytes / 4, 'float32');
  const times = Array.from({ length: repetitions }, () => {
    group.barrier().wait();
    const start = process.hrtime.bigint();
    group.allReduce(tensor, 'sum').wait();
    return Number(process.hrtime.bigint() - start) / 1000;
  });
  tensor.dispose();
  return middle(times);
}

function middle(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}

function byName(names: readonly string[], value: (name: string) => number): Readonly<Record<string, number>> {
  return Object.fromEntries(names.map((name) => [name, value(name)]));
}

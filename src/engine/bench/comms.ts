import { env } from '../../base/env.js';
import { invariant } from '../../base/errors.js';
import { type Choice, choicesFor, createChooser, predictSeconds } from '../../comm/choose-algorithm.js';
import { type CommunicationCosts, secondsFor } from '../../comm/communication-costs.js';
import type { ExchangeWish } from '../../comm/connect-exchange.js';
import { distinctPlans } from '../../comm/distinct-plans.js';
import { measureCosts } from '../../comm/measure-costs.js';
import type { ProcessGroup } from '../../comm/process-group.js';
import { rendezvous } from '../../comm/rendezvous.js';
import { type Hosts, hostsOfSize } from '../../comm/topology.js';
import type { RankEnvironment } from '../../launch/environment.js';
import { threadBudget } from '../../launch/threads.js';
import { setThreads } from '../../tensor/threads.js';

type Named<Value> = Readonly<Record<string, Value>>;

/** What an all-reduce of one size took, in turns by each algorithm. */
export interface CommunicationTimes {
  readonly bytes: number;
  /** Microseconds by algorithm: the median of the rounds' medians. */
  readonly median_us: Named<number>;
  /** The backend's time divided by the algorithm's: the median over the rounds. */
  readonly times_backend: Named<number>;
  /** Microseconds by algorithm, as they are predicted when a run starts. */
  readonly predicted_us: Named<number>;
  /** What "auto" takes, and its time divided by that of the best other: the median over the rounds; 1 if it is the best. */
  readonly chosen: string;
  readonly times_best: number;
}

const TIMEOUT_MS = 60_000;

/** Bytes that the repetitions of one round move at most, and how many there are at least and at most. */
const BYTES_PER_ROUND = 1 << 28;
const LEAST_REPETITIONS = 5;
const MOST_REPETITIONS = 200;

/** Calls by one algorithm before it is another's turn, and a share of so many that come first and are not counted. */
const TOGETHER = 100;
const WARM_UP_SHARE = 1 / 10;

export interface CommunicationBench {
  readonly sizes: readonly number[];
  readonly rounds: number;
  /** Lets this host act as several, whose ranks share no memory with each other. */
  readonly ranksPerHost?: number | undefined;
}

/** Measures fp32 all-reduces between the ranks of one host. Every rank must call it, and gets its own times. */
export function benchComms(
  environment: RankEnvironment,
  { sizes, rounds, ranksPerHost }: CommunicationBench,
): readonly CommunicationTimes[] {
  const { cores, threadsPerRank } = threadBudget(environment.localWorldSize, env.variables);
  setThreads(threadsPerRank);
  const hosts = hostsOfSize(environment.worldSize, ranksPerHost ?? environment.worldSize);
  const isOneHost = hosts.length === 1;
  const backend = rendezvous({ ...environment, timeoutMs: TIMEOUT_MS });
  let measured: CommunicationCosts | undefined;
  const connect = (algorithm: ExchangeWish['algorithm']): ProcessGroup =>
    rendezvous({
      ...environment,
      runId: `${environment.runId}/${algorithm}`,
      // The first group's store serves all.
      storeIsHosted: true,
      timeoutMs: TIMEOUT_MS,
      exchange: {
        ...environment,
        algorithm,
        hosts,
        inOrder: false,
        cores,
        threadsPerRank,
        onCosts: (costs) => {
          measured = costs;
        },
      },
    });
  const measuredAs = distinctPlans(hosts);
  const pinned = new Set(measuredAs.values());
  const groups: Named<ProcessGroup> = {
    backend,
    ...(isOneHost && { 'shared-memory': connect('shared-memory') }),
    ...Object.fromEntries([...pinned].map((name) => [name, connect(name)])),
  };
  const shared = groups['shared-memory'];
  // Where all share memory a run does not measure: there is nothing to choose.
  const automatic = shared === undefined ? connect('auto') : undefined;
  const costs = measured ?? measureCosts(backend, hosts, shared);
  const chosenFor = (bytes: number): string => {
    if (shared !== undefined) return 'shared-memory';
    const choice = createChooser(hosts, costs)(allReduceOf(bytes));
    return choice === 'backend' ? choice : (measuredAs.get(choice) ?? choice);
  };
  const times = sizes.map((bytes) =>
    judged(bytes, measureRounds(groups, bytes, rounds), hosts, costs, chosenFor(bytes)),
  );
  for (const group of [automatic, ...Object.values(groups).reverse()]) group?.close();
  return times;
}

function allReduceOf(bytes: number) {
  return { collective: 'all-reduce', elements: bytes / 4, dtype: 'float32' } as const;
}

/** What one round took, by algorithm. */
type Round = Named<number>;

/** Puts beside what was measured what is predicted, and what is chosen for that. */
function judged(
  bytes: number,
  rounds: readonly Round[],
  hosts: Hosts,
  costs: CommunicationCosts,
  chosen: string,
): CommunicationTimes {
  const names = Object.keys(rounds[0] ?? {});
  const call = allReduceOf(bytes);
  const choices = choicesFor(hosts);
  const seconds = (name: string): number => {
    const choice = choices.find((each): each is Choice => each === name);
    if (choice !== undefined) return predictSeconds(choice, hosts, call, costs);
    invariant(costs.sharedMemory, `nothing was measured for ${name}`);
    return secondsFor(costs.sharedMemory, bytes);
  };
  return {
    bytes,
    median_us: byName(names, (name) => middle(rounds.map(({ [name]: own = Number.NaN }) => own))),
    times_backend: byName(names, (name) => timesAsLong(rounds, 'backend', name)),
    predicted_us: byName(names, (name) => 1e6 * seconds(name)),
    chosen,
    times_best: Math.max(...names.map((name) => timesAsLong(rounds, chosen, name))),
  };
}

/** How many times as long one takes as another: what passes between two rounds is none of their difference. */
function timesAsLong(rounds: readonly Round[], one: string, other: string): number {
  return middle(rounds.map(({ [one]: own = Number.NaN, [other]: others = Number.NaN }) => own / others));
}

function measureRounds(groups: Named<ProcessGroup>, bytes: number, rounds: number): readonly Round[] {
  return Array.from({ length: rounds }, () => medianMicroseconds(groups, bytes));
}

/**
 * Calls by each in turns, so that what else the machine does meets all alike; the first of a turn find what another left in
 * caches, and ranks asleep, and are not counted. Each comes after a barrier, so that no rank waits for one that comes late.
 */
function medianMicroseconds(groups: Named<ProcessGroup>, bytes: number): Round {
  const repetitions = Math.min(
    MOST_REPETITIONS,
    Math.max(LEAST_REPETITIONS, Math.floor(BYTES_PER_ROUND / bytes)),
  );
  const taking = Object.entries(groups).map(([name, group]) => {
    const tensor = group.allocate(bytes / 4, 'float32');
    return { name, group, tensor, times: [] as number[] };
  });
  const together = Math.min(TOGETHER, repetitions);
  const warmUp = Math.ceil(WARM_UP_SHARE * together);
  for (let turn = 0; turn * together < repetitions; turn += 1) {
    for (const { group, tensor, times } of taking) {
      for (let call = 0; call < warmUp + together; call += 1) {
        group.barrier().wait();
        const start = process.hrtime.bigint();
        group.allReduce(tensor, 'sum').wait();
        if (call >= warmUp) times.push(Number(process.hrtime.bigint() - start) / 1000);
      }
    }
  }
  for (const { tensor } of taking) tensor.dispose();
  return Object.fromEntries(taking.map(({ name, times }) => [name, middle(times)]));
}

function middle(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[values.length >> 1] ?? Number.NaN;
}

function byName(names: readonly string[], value: (name: string) => number): Named<number> {
  return Object.fromEntries(names.map((name) => [name, value(name)]));
}

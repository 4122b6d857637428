import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { type Choice, createChooser } from '../src/comm/choose-algorithm.js';
import type { CommunicationCosts } from '../src/comm/communication-costs.js';
import type { CommunicationAlgorithm } from '../src/comm/connect-exchange.js';
import type { ProcessGroup } from '../src/comm/process-group.js';
import { rendezvous } from '../src/comm/rendezvous.js';
import { hostsOfSize } from '../src/comm/topology.js';
import { rankEnvironment } from '../src/launch/environment.js';
import { tensor } from '../src/tensor/create.js';
import { scope } from '../src/tensor/tensor.js';
import { linkTraffic, type Traffic, trafficBetween } from './link-traffic.js';

/**
 * One rank of the tests on several hosts: `node network-hosts-program.js TASK`. Sums by each algorithm, with what is
 * measured, counted and predicted of them.
 */
export interface Task {
  readonly sums: readonly SumTask[];
  /** The names of this host's ends of its links. */
  readonly links: readonly string[];
}

/** Some fp32 all-reduces. */
export interface SumTask {
  readonly algorithm: CommunicationAlgorithm;
  readonly bytes: number;
  readonly repetitions: number;
}

/** What they took. */
export interface TimedSums extends SumTask {
  /** What it took to connect, and with "auto" to measure what things cost. */
  readonly connectingSeconds: number;
  /** Of each. */
  readonly seconds: readonly number[];
  /** Of all, as the group counts them, on this rank. */
  readonly exchangedBytes: number;
  /** Of all and this rank's host, as the kernel counts it. */
  readonly traffic: Traffic;
}

export interface Report {
  readonly sums: readonly TimedSums[];
  /** What "auto" has measured, and chosen by it for its sum. */
  readonly costs?: CommunicationCosts | undefined;
  readonly chosen?: Choice | undefined;
}

const TIMEOUT_MS = 60_000;

const task = JSON.parse(process.argv[2] ?? '') as Task;
const environment = rankEnvironment(process.env);
assert(environment !== undefined);
const { rank, worldSize, localWorldSize } = environment;

const hosts = hostsOfSize(worldSize, localWorldSize);
const plain = rendezvous({ ...environment, timeoutMs: TIMEOUT_MS });
let costs: CommunicationCosts | undefined;
const sums = task.sums.map((sum): TimedSums => {
  const startedMs = performance.now();
  const group = connect(sum.algorithm);
  const connectingSeconds = (performance.now() - startedMs) / 1000;
  scope(() => sumsAreRight(group));
  const timed = scope(() => timedSums(group, sum));
  group.close();
  return { ...sum, connectingSeconds, ...timed };
});
plain.close();
process.stdout.write(JSON.stringify({ sums, costs, chosen: choiceBy(costs) } satisfies Report));

function choiceBy(measured: CommunicationCosts | undefined): Choice | undefined {
  const own = task.sums.find(({ algorithm }) => algorithm === 'auto');
  if (own === undefined) return undefined;
  assert(measured !== undefined, '"auto" has measured nothing');
  const call = { collective: 'all-reduce', elements: own.bytes / 4, dtype: 'float32' } as const;
  return createChooser(hosts, measured)(call);
}

/** As `train` connects, with what the launcher says of the hosts. */
function connect(algorithm: CommunicationAlgorithm): ProcessGroup {
  assert(environment !== undefined);
  return rendezvous({
    ...environment,
    runId: `${environment.runId}/${algorithm}`,
    // The first group's store serves all.
    storeIsHosted: true,
    timeoutMs: TIMEOUT_MS,
    exchange: {
      ...environment,
      algorithm,
      inOrder: false,
      cores: availableParallelism(),
      threadsPerRank: 1,
      onCosts: (measured) => {
        costs = measured;
      },
    },
  });
}

/** Small whole numbers, so that every order of sums comes to the same. */
function sumsAreRight(group: ProcessGroup): void {
  for (const part of [1, 1001]) {
    const length = part * worldSize;
    const valuesOf = (of: number) => Float32Array.from({ length }, (_, index) => (index % 13) * (of + 1));
    const all = Array.from({ length: worldSize }, (_, of) => valuesOf(of));
    const sum = Float32Array.from({ length }, (_, index) =>
      all.reduce((total, values) => total + (values[index] ?? Number.NaN), 0),
    );
    const own = { start: rank * part, end: (rank + 1) * part };

    const whole = tensor(valuesOf(rank));
    group.allReduce(whole, 'sum').wait();
    assert.deepEqual(whole.toArray(), [...sum]);

    const reduced = tensor(new Float32Array(part));
    const given = tensor(valuesOf(rank));
    const inputs = all.map((_, of) => given.narrow(0, of * part, part));
    group.reduceScatter(reduced, inputs, 'sum').wait();
    assert.deepEqual(reduced.toArray(), [...sum.slice(own.start, own.end)]);

    const gathered = tensor(new Float32Array(length));
    group.allGather(gathered, reduced).wait();
    assert.deepEqual(gathered.toArray(), [...sum]);
  }
}

function timedSums(
  group: ProcessGroup,
  { bytes, repetitions }: SumTask,
): Omit<TimedSums, keyof SumTask | 'connectingSeconds'> {
  const values = group.allocate(bytes / 4, 'float32');
  // A connection has to find out first how much may be on its way.
  group.allReduce(values.narrow(0, 0, bytes / 16), 'sum').wait();
  group.barrier().wait();
  const before = { bytes: group.exchangedBytes, traffic: linkTraffic(task.links) };
  // No rank of this host begins before the others have looked.
  group.barrier().wait();
  const seconds = Array.from({ length: repetitions }, () => {
    const startedMs = performance.now();
    group.allReduce(values, 'sum').wait();
    const took = (performance.now() - startedMs) / 1000;
    // What others of this host still have to send is to be counted too.
    group.barrier().wait();
    return took;
  });
  const exchangedBytes = group.exchangedBytes - before.bytes;
  const traffic = trafficBetween(before.traffic, linkTraffic(task.links));
  values.dispose();
  return { seconds, exchangedBytes, traffic };
}

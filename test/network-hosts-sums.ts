import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type Choice, predictSeconds } from '../src/comm/choose-algorithm.js';
import type { CommunicationCosts } from '../src/comm/communication-costs.js';
import { hostsOfSize } from '../src/comm/topology.js';
import { resultsOnHosts } from './network-hosts.js';
import type { Report, SumTask, Task } from './network-hosts-program.js';
import { linkNames, type NetworkSpec } from './network-layout.js';

export const RANKS_PER_HOST = 2;

export type LimitedNetwork = Required<NetworkSpec>;

/** What every rank of a network says of its sums. */
export interface HostSums {
  readonly network: LimitedNetwork;
  readonly reports: readonly Report[];
}

/** Sums by several algorithms on the ranks of a network. */
export async function sumsOnHosts(
  network: LimitedNetwork,
  tasks: Readonly<Partial<Record<SumTask['algorithm'], Omit<SumTask, 'algorithm'>>>>,
): Promise<HostSums> {
  const sums = Object.entries(tasks).map(([algorithm, task]) => ({
    ...task,
    algorithm: algorithm as SumTask['algorithm'],
  }));
  const reports = await resultsOnHosts<Report>({
    network,
    ranksPerHost: RANKS_PER_HOST,
    program: join(import.meta.dirname, 'network-hosts-program.js'),
    args: [JSON.stringify({ sums, links: linkNames(network.joining) } satisfies Task)],
  });
  return { network, reports };
}

/** What the slowest rank took, at best. */
export function secondsOf({ reports }: HostSums, algorithm: SumTask['algorithm']): number {
  const ranks = reports.map(({ sums }) => {
    const found = sums.find((each) => each.algorithm === algorithm);
    assert(found !== undefined, `${algorithm} was not measured`);
    return found.seconds;
  });
  return Math.min(...(ranks[0] ?? []).map((_, turn) => Math.max(...ranks.map((each) => each[turn] ?? 0))));
}

/** What an fp32 all-reduce takes, where nothing takes time but the links between hosts. */
export function linkSeconds(network: LimitedNetwork, algorithm: Choice, bytes: number): number {
  const hosts = hostsOfSize(network.hosts * RANKS_PER_HOST, RANKS_PER_HOST);
  const call = { collective: 'all-reduce', elements: bytes / 4, dtype: 'float32' } as const;
  return predictSeconds(algorithm, hosts, call, linkCosts(network));
}

/** Of links alone. Gloo's sum is a ring, but is not told so. */
export function linkCosts({ joining, megabitsPerSecond }: LimitedNetwork): CommunicationCosts {
  const perByte = 8e-6 / megabitsPerSecond;
  const link = { start: 0, perByte };
  return {
    insideHost: NOTHING,
    betweenHosts: link,
    // Half of what a host sends goes by each of its links.
    betweenManyHosts: joining === 'ring' ? { start: 0, perByte: perByte / 2 } : link,
    perMessage: 0,
    combinePerByte: 0,
    backend: { start: 0, perByte: 2 * perByte },
    sharedMemory: NOTHING,
  };
}

const NOTHING = { start: 0, perByte: 0 };

import { DTYPES } from '../tensor/dtype.js';
import { directPlan } from './algorithm/direct.js';
import { type Plan, ranksOf } from './algorithm/plan.js';
import { ringAllGather, ringAllReduce, ringReduceScatter } from './algorithm/ring.js';
import { ALGORITHM_NAMES, ALGORITHMS, type AlgorithmName } from './algorithm.js';
import { type CommunicationCosts, planSeconds, secondsFor } from './communication-costs.js';
import type { ChooseAlgorithm, CollectiveCall } from './process-group/planned.js';
import { type Hosts, isRegular, laneMembers } from './topology.js';

/** What can do a collective over messages. */
export type Choice = AlgorithmName | 'backend';

/** The choices where the ranks are so, the plainest first. */
export function choicesFor(hosts: Hosts): readonly Choice[] {
  return ['backend', ...ALGORITHM_NAMES.filter((name) => ALGORITHMS[name].refuses(hosts) === undefined)];
}

/**
 * Chooses for each collective what is predicted to be fastest. All ranks choose the same where they have agreed on the
 * costs, since nothing else is asked.
 */
export function createChooser(hosts: Hosts, costs: CommunicationCosts): ChooseAlgorithm {
  const known = new Map<string, Choice>();
  return (call) => {
    const key = `${call.collective} ${call.elements} ${call.dtype}`;
    const found = known.get(key) ?? fastest(hosts, call, costs);
    known.set(key, found);
    return found;
  };
}

/**
 * An algorithm of ours has to be predicted to take less than this share of the backend's time: that is near to what was
 * measured, while ours is put together from parts, and what is predicted to be as fast is as often slower. A tenth is what
 * may be lost by it at most.
 */
const CLEARLY_LESS = 0.9;

function fastest(hosts: Hosts, call: CollectiveCall, costs: CommunicationCosts): Choice {
  const predicted = choicesFor(hosts).map((choice) => ({
    choice,
    handicapped: predictSeconds(choice, hosts, call, costs) / (choice === 'backend' ? 1 : CLEARLY_LESS),
  }));
  return predicted.reduce((best, each) => (each.handicapped < best.handicapped ? each : best)).choice;
}

/** How long a collective takes in one way, in seconds. */
export function predictSeconds(
  choice: Choice,
  hosts: Hosts,
  { collective, elements, dtype }: CollectiveCall,
  costs: CommunicationCosts,
): number {
  const elementBytes = DTYPES[dtype].bytes;
  const ranks = [...ranksOf(hosts)].sort((left, right) => left - right);
  const over = (plan: (rank: number) => Plan): number =>
    planSeconds(ranks.map(plan), hosts, elementBytes, costs);
  if (choice === 'backend') {
    return collective === 'all-reduce'
      ? secondsFor(costs.backend, elements * elementBytes)
      : over((rank) => directPlan({ collective, rank, hosts, elements }));
  }
  if (choice === 'hierarchical' && costs.sharedMemory !== undefined && isRegular(hosts)) {
    const inMemory = secondsFor(costs.sharedMemory, elements * elementBytes);
    const share = collective === 'all-reduce' ? 1 : 0.5;
    return share * inMemory + over((rank) => lanePlan(hosts, rank, collective, elements));
  }
  return over((rank) => ALGORITHMS[choice].plan({ collective, rank, hosts, elements }));
}

/** What travels between hosts where the sums over a host are made in its memory (`hierarchical-in-memory.ts`). */
function lanePlan(
  hosts: Hosts,
  rank: number,
  collective: CollectiveCall['collective'],
  elements: number,
): Plan {
  const lane = Math.max(...hosts.map((host) => host.indexOf(rank)));
  const members = laneMembers(hosts, lane);
  const share = Math.ceil(elements / ranksOf(hosts).length);
  const shares = members.map((_, index) => [{ start: index * share, end: (index + 1) * share }]);
  switch (collective) {
    case 'all-reduce':
      return ringAllReduce(members, rank, shares);
    case 'reduce-scatter':
      return ringReduceScatter(members, rank, shares);
    case 'all-gather':
      return ringAllGather(members, rank, shares);
    default:
      return collective satisfies never;
  }
}

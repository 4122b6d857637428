import { type Round, ranksOf } from './algorithm/plan.js';
import { ALGORITHM_NAMES, ALGORITHMS, type AlgorithmName } from './algorithm.js';
import type { Hosts } from './topology.js';

/**
 * Of each algorithm that can work where the ranks are so, the first that plans an all-reduce in the same way, as all do
 * between two ranks: one plan under two names would be measured as if it were two, of which one always looks worse.
 */
export function distinctPlans(hosts: Hosts): ReadonlyMap<AlgorithmName, AlgorithmName> {
  const measuredAs = new Map<AlgorithmName, AlgorithmName>();
  const plans = new Map<string, AlgorithmName>();
  const ranks = ranksOf(hosts);
  // Enough elements to give every rank some, and different ones.
  const elements = 2 * ranks.length ** 2;
  for (const name of ALGORITHM_NAMES) {
    if (ALGORITHMS[name].refuses(hosts) !== undefined) continue;
    const planOf = (rank: number) =>
      ALGORITHMS[name].plan({ collective: 'all-reduce', rank, hosts, elements });
    // Inside a host it may be done in shared memory, which is no plan.
    const isApart = name === 'hierarchical' && hosts.some(({ length }) => length > 1);
    const said = isApart ? name : JSON.stringify(ranks.map((rank) => planOf(rank).filter(isBusy)));
    const first = plans.get(said) ?? name;
    plans.set(said, first);
    measuredAs.set(name, first);
  }
  return measuredAs;
}

function isBusy({ sends, receives }: Round): boolean {
  return sends.length + receives.length > 0;
}

import type { Plan } from './algorithm/plan.js';
import { ALGORITHMS } from './algorithm.js';
import type { ChooseAlgorithm } from './choose-algorithm.js';
import { sumBetweenHosts } from './hierarchical-in-memory.js';
import type { ReductionStages, StagesOf } from './process-group.js';
import { type Hosts, isRegular } from './topology.js';

/**
 * What can be known of the all-reduces of a `PlannedGroup` before they are done.
 *
 * @param isShared whether the ranks of a host share memory
 */
export function reductionStages(choose: ChooseAlgorithm, hosts: Hosts, isShared: boolean): StagesOf {
  return (rank, elements) => {
    const collective = 'all-reduce';
    const algorithm = choose({ collective, elements, dtype: 'float32' });
    if (algorithm === 'backend') return undefined;
    if (algorithm !== 'hierarchical' || !isShared || !isRegular(hosts))
      return { algorithm, ...heldIn(ALGORITHMS[algorithm].plan({ collective, rank, hosts, elements })) };
    // Before and after what goes between hosts, a stage in their memory.
    const { elements: longest, held } = heldIn(sumBetweenHosts(hosts, rank, elements));
    return { algorithm, elements: longest, held: [0, ...held, 0] };
  };
}

/** Messages of a round are asked for in the round before it (`run-plan.ts`), and those that are copied need no buffer. */
function heldIn(plan: Plan): Omit<ReductionStages, 'algorithm'> {
  const waiting = plan.map(({ receives }) => receives.filter(({ effect }) => effect === 'combine'));
  return {
    elements: Math.max(0, ...waiting.flat().map(({ start, end }) => end - start)),
    held: waiting.map((now, round) => now.length + (waiting[round + 1]?.length ?? 0)),
  };
}

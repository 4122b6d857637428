import type { PlanRequest } from './algorithm.js';
import { arrivals, ownPart, type Plan, ranksOf, transfers } from './plan.js';

/**
 * Everybody sends everybody what that one needs, at once: what `direct-exchange.ts` does for the backend, as a plan by
 * which its time can be predicted.
 */
export function directPlan({
  collective,
  rank,
  hosts,
  elements,
}: Omit<PlanRequest, 'collective'> & { readonly collective: 'reduce-scatter' | 'all-gather' }): Plan {
  const peers = ranksOf(hosts).filter((peer) => peer !== rank);
  const isGather = collective === 'all-gather';
  const part = (of: number) => [ownPart(elements, of, hosts)];
  return [
    {
      sends: peers.flatMap((peer) => transfers(part(isGather ? rank : peer), peer)),
      receives: peers.flatMap((peer) =>
        arrivals(part(isGather ? peer : rank), peer, isGather ? 'copy' : 'combine'),
      ),
    },
  ];
}

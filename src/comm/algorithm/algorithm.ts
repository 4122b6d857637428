import type { Hosts } from '../topology.js';
import type { Plan } from './plan.js';

/** What can be planned. */
export type PlannedCollective = 'all-reduce' | 'reduce-scatter' | 'all-gather';

/** One collective as one rank takes part in it. */
export interface PlanRequest {
  readonly collective: PlannedCollective;
  readonly rank: number;
  readonly hosts: Hosts;
  /**
   * Of the whole. In a reduce-scatter and an all-gather a multiple of the number of ranks: rank r has the r-th of so
   * many equal parts.
   */
  readonly elements: number;
}

/**
 * Which elements go where, and when: a pure function of the collective, the place of the rank and the length, so that
 * all ranks know each other's plans without a word. Nothing here knows how messages travel.
 *
 * In a reduce-scatter no transfer crosses the border of two parts, and a rank's partial sums of one part always have
 * the same borders, since its inputs may lie anywhere (`plan-memory.ts`).
 */
export interface Algorithm {
  plan(request: PlanRequest): Plan;
  /** Why it cannot work where the ranks are so; undefined where it can. */
  refuses(hosts: Hosts): string | undefined;
}

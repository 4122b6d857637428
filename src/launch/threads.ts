import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Variables } from './variables.js';

/** How many threads each rank of this host computes with. */
export interface ThreadBudget {
  /** Cores that this process may use. */
  readonly cores: number;
  readonly threadsPerRank: number;
  /** The variables that the launcher sets for its ranks; a person's own settings are left alone. */
  readonly variables: Readonly<Record<string, string>>;
  /** Such as "2 ranks × 1 thread (2 cores)". */
  readonly summary: string;
}

/** Shares the cores of this host among its ranks: one thread each at least, none twice otherwise. */
export function threadBudget(localRanks: number, variables: Variables, cores = usableCores()): ThreadBudget {
  const own = THREAD_VARIABLES.map((name) => variables[name]).find(isCount);
  const threadsPerRank = own === undefined ? Math.max(1, Math.floor(cores / localRanks)) : Number(own);
  const chosen = THREAD_VARIABLES.filter((name) => !isCount(variables[name]));
  return {
    cores,
    threadsPerRank,
    variables: Object.fromEntries(chosen.map((name) => [name, String(threadsPerRank)])),
    summary: [
      `${count(localRanks, 'rank')} × ${count(threadsPerRank, 'thread')} (${count(cores, 'core')})`,
      ...(own === undefined ? [] : ['as set in the environment']),
      ...(localRanks > cores ? ['more ranks than cores: they will slow each other down'] : []),
    ].join(', '),
  };
}

const THREAD_VARIABLES = ['OMP_NUM_THREADS', 'MKL_NUM_THREADS'] as const;
const CGROUP_CPU_LIMIT = '/sys/fs/cgroup/cpu.max';

/** Cores by affinity, less where a container's quota allows less. */
export function usableCores(): number {
  const cores = availableParallelism();
  let limit: string;
  try {
    limit = readFileSync(CGROUP_CPU_LIMIT, 'utf8');
  } catch {
    return cores;
  }
  const [quota, period] = limit.split(/\s+/).map(Number);
  if (quota === undefined || period === undefined || !(quota > 0) || !(period > 0)) return cores;
  return Math.max(1, Math.min(cores, Math.ceil(quota / period)));
}

function isCount(value: string | undefined): value is string {
  return value !== undefined && /^[1-9]\d{0,4}$/.test(value);
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

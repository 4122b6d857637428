/** How a warm-up rises; DeepSpeed's `warmup_type`. */
export type WarmupType = 'log' | 'linear';

/** DeepSpeed's shortest warm-up: one step would divide by log(1). */
export function warmupLength(steps: number): number {
  return Math.max(2, steps);
}

/**
 * How far a warm-up of `steps` has come after `iteration` iterations, from 0 to 1: log(i + 1) / log(steps) or
 * i / steps.
 */
export function warmupFraction(iteration: number, steps: number, type: WarmupType): number {
  switch (type) {
    case 'log':
      return (1 / Math.log(steps)) * Math.log(iteration + 1);
    case 'linear':
      return iteration / steps;
    default:
      return type satisfies never;
  }
}

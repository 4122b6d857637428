import type { SchedulerConfig } from '../config.js';
import type { Schedule } from './schedule.js';
import { warmupFraction, warmupLength } from './warmup.js';

type Parameters = Extract<SchedulerConfig, { type: 'WarmupLR' }>['params'];

/** Rises from `warmup_min_lr` to `warmup_max_lr` (the optimizer's own where left out), and stays there. */
export function warmupLr(parameters: Parameters, learningRate: number): Schedule {
  const low = parameters.warmup_min_lr;
  const high = parameters.warmup_max_lr ?? learningRate;
  const length = warmupLength(parameters.warmup_num_steps);
  return {
    at: (step) => {
      const iteration = step - 1;
      if (iteration < 0) return { learningRate: low };
      const fraction = iteration < length ? warmupFraction(iteration, length, parameters.warmup_type) : 1;
      return { learningRate: low + (high - low) * fraction };
    },
  };
}

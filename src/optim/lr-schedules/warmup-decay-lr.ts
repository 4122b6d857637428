import { invariant } from '../../base/errors.js';
import type { SchedulerConfig } from '../config.js';
import type { Schedule } from './schedule.js';
import { warmupFraction, warmupLength } from './warmup.js';

type Parameters = Extract<SchedulerConfig, { type: 'WarmupDecayLR' }>['params'];

/**
 * Rises from `warmup_min_lr` to `warmup_max_lr`, then falls on a straight line, back to `warmup_min_lr` at
 * `total_num_steps`.
 */
export function warmupDecayLr(parameters: Parameters): Schedule {
  const { warmup_min_lr: low, warmup_max_lr: high, total_num_steps: total, warmup_type: type } = parameters;
  invariant(total !== undefined, 'a resolved WarmupDecayLR has total_num_steps');
  const length = warmupLength(parameters.warmup_num_steps);
  const fractionAt = (iteration: number) =>
    iteration < length
      ? warmupFraction(iteration, length, type)
      : Math.max(0, (total - iteration) / Math.max(1, total - length));
  return {
    at: (step) => ({ learningRate: step === 0 ? low : low + (high - low) * fractionAt(step - 1) }),
  };
}

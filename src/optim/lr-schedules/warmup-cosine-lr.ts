import { invariant } from '../../base/errors.js';
import type { SchedulerConfig } from '../config.js';
import type { Schedule } from './schedule.js';
import { warmupFraction, warmupLength } from './warmup.js';

type Parameters = Extract<SchedulerConfig, { type: 'WarmupCosineLR' }>['params'];

/**
 * Rises from `warmup_min_ratio` of the optimizer's learning rate to the whole of it, then falls along half a
 * cosine to `cos_min_ratio` at `total_num_steps`, and stays there.
 *
 * Step 0 has learning rate 0 whatever `warmup_min_ratio` says, as in DeepSpeed.
 */
export function warmupCosineLr(parameters: Parameters, learningRate: number): Schedule {
  const {
    warmup_min_ratio: start,
    cos_min_ratio: end,
    total_num_steps: total,
    warmup_type: type,
  } = parameters;
  invariant(total !== undefined, 'a resolved WarmupCosineLR has total_num_steps');
  const length = warmupLength(parameters.warmup_num_steps);
  const ratioAt = (iteration: number) => {
    if (iteration < length) return start + (1 - start) * warmupFraction(iteration, length, type);
    const progress = Math.min(1, (iteration - length + 1) / Math.max(1, total - length));
    return Math.max(0, end + ((1 - end) * (1 + Math.cos(Math.PI * progress))) / 2);
  };
  return {
    at: (step) => ({ learningRate: step === 0 ? 0 : learningRate * ratioAt(step - 1) }),
  };
}

import type { SchedulerConfig } from './config.js';
import { lrRangeTest } from './lr-schedules/lr-range-test.js';
import { oneCycle } from './lr-schedules/one-cycle.js';
import type { Schedule } from './lr-schedules/schedule.js';
import { warmupCosineLr } from './lr-schedules/warmup-cosine-lr.js';
import { warmupDecayLr } from './lr-schedules/warmup-decay-lr.js';
import { warmupLr } from './lr-schedules/warmup-lr.js';

/**
 * The schedule of a configuration. `learningRate` is the optimizer's own, `totalSteps` the length of the run,
 * for schedules whose `total_num_steps` is left out.
 *
 * [Note: DeepSpeed's clock] DeepSpeed sets a first value when the scheduler is made, and calls `step()` after
 * each optimizer step, which counts `last_batch_iteration` up from -1. Optimizer step n > 0 therefore uses the
 * formula at n - 1, and step 0 the value set at first, which follows a rule of its own in some schedules. The
 * values here are the same at every step (deepspeed/runtime/lr_schedules.py, 0.19.6).
 */
export function createSchedule(config: SchedulerConfig | undefined, learningRate: number): Schedule {
  switch (config?.type) {
    case undefined:
      return { at: () => ({ learningRate }) };
    case 'WarmupLR':
      return warmupLr(config.params, learningRate);
    case 'WarmupDecayLR':
      return warmupDecayLr(config.params);
    case 'WarmupCosineLR':
      return warmupCosineLr(config.params, learningRate);
    case 'OneCycle':
      return oneCycle(config.params);
    case 'LRRangeTest':
      return lrRangeTest(config.params);
    default:
      return config satisfies never;
  }
}

import type { SchedulerConfig } from '../config.js';
import type { Schedule } from './schedule.js';

type Parameters = Extract<SchedulerConfig, { type: 'LRRangeTest' }>['params'];

/** Grows without end from `lr_range_test_min_lr`, to find the rate at which a model diverges (Smith 2018). */
export function lrRangeTest(parameters: Parameters): Schedule {
  const {
    lr_range_test_min_lr: start,
    lr_range_test_step_size: size,
    lr_range_test_step_rate: rate,
  } = parameters;
  return {
    at: (step) => {
      const intervals = parameters.lr_range_test_staircase ? Math.floor(step / size) : step / size;
      return { learningRate: start * (1 + rate * intervals) };
    },
  };
}

import type { SchedulerConfig } from '../config.js';
import type { Schedule } from './schedule.js';

type Parameters = Extract<SchedulerConfig, { type: 'OneCycle' }>['params'];

/**
 * One rise from `cycle_min_lr` to `cycle_max_lr` and back, the momentum going the other way, then a slow decay
 * (Smith 2018).
 *
 * The momentum is β₁ alone. DeepSpeed also sets β₂ to 0.99, whatever the optimizer was given; here the
 * optimizer keeps its own. Step 0 has `cycle_min_mom`, the value that belongs to the top, as in DeepSpeed.
 */
export function oneCycle(parameters: Parameters): Schedule {
  const {
    cycle_min_lr: lowRate,
    cycle_max_lr: highRate,
    cycle_min_mom: low,
    cycle_max_mom: high,
  } = parameters;
  const first = parameters.cycle_first_step_size;
  const total = first + (parameters.cycle_second_step_size ?? first);

  const learningRateAt = (step: number) => {
    if (step <= total) return lowRate + (highRate - lowRate) * cycleHeight(step, parameters);
    return lowRate / (1 + parameters.decay_lr_rate * decayIntervals(step - total, parameters));
  };
  const momentumAt = (step: number) => {
    if (step === 0) return low;
    if (step <= total) return high - (high - low) * cycleHeight(step, parameters);
    return high * (1 + parameters.decay_mom_rate * decayIntervals(step - total, parameters));
  };
  return {
    at: (step) => ({
      learningRate: learningRateAt(step),
      ...((parameters.cycle_momentum ?? true) ? { momentum: momentumAt(step) } : {}),
    }),
  };
}

/** How high the cycle stands at `step`, from 0 at its ends to 1 at its top, in stairs where asked. */
function cycleHeight(step: number, parameters: Parameters): number {
  const first = parameters.cycle_first_step_size;
  const second = parameters.cycle_second_step_size ?? first;
  const total = first + second;
  const place = step % total;
  const rising = place <= first;
  const stairs = rising
    ? parameters.cycle_first_stair_count
    : (parameters.cycle_second_stair_count ?? parameters.cycle_first_stair_count);
  const height = rising ? place / first : (total - place) / second;
  if (stairs === 0) return height;
  // Counted in whole steps, so that rounding cannot drop the top by a stair.
  const climbed = rising ? (place * stairs) / first : ((total - place) * stairs) / second;
  return Math.floor(climbed) / stairs;
}

function decayIntervals(stepsSinceCycle: number, { decay_step_size: size }: Parameters): number {
  return size === 0 ? 0 : stepsSinceCycle / size;
}

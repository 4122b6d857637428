import { z } from 'zod';
import { TrainyardError } from '../base/errors.js';
import type { LossScaling } from './config.js';

/** Where a loss scale stands between two steps; plain data, as checkpoints keep it. */
export const lossScalerStateSchema = z.strictObject({
  scale: z.number().gt(0),
  /** Steps so far, those that were skipped included. */
  steps: z.int().min(0),
  /** Number of the last step that overflowed, from 0; -1 while there is none. */
  lastOverflow: z.int().min(-1),
  /** The overflow, counted from now, that lowers the scale. */
  hysteresis: z.int().min(1),
});

export type LossScalerState = Readonly<z.output<typeof lossScalerStateSchema>>;

/** The state before the first step. */
export function initialLossScale(scaling: LossScaling): LossScalerState {
  return scaling.kind === 'static'
    ? { scale: scaling.scale, steps: 0, lastOverflow: -1, hysteresis: 1 }
    : { scale: scaling.initialScale, steps: 0, lastOverflow: -1, hysteresis: scaling.hysteresis };
}

/**
 * The state after a step. A dynamic scale follows DeepSpeed's rule (`DynamicLossScaler` in
 * runtime/fp16/loss_scaler.py): the `hysteresis`-th overflow and every one after it halve the scale, `window`
 * steps in a row without one double it and restore the tolerance. A static scale stays.
 *
 * @throws TrainyardError LOSS_SCALE_EXHAUSTED for an overflow that would lower the smallest scale.
 */
export function nextLossScale(
  scaling: LossScaling,
  state: LossScalerState,
  overflowed: boolean,
): LossScalerState {
  const counted = {
    ...state,
    steps: state.steps + 1,
    lastOverflow: overflowed ? state.steps : state.lastOverflow,
  };
  if (scaling.kind === 'static') return counted;
  const { window, hysteresis, consecutiveHysteresis, minimumScale } = scaling;
  if (overflowed) {
    if (state.hysteresis > 1) return { ...counted, hysteresis: state.hysteresis - 1 };
    if (state.scale === minimumScale) throw exhausted(minimumScale);
    return { ...counted, scale: Math.max(state.scale / 2, minimumScale) };
  }
  const clean = state.steps - state.lastOverflow - 1;
  const grows = clean > 0 && clean % window === 0;
  return {
    ...counted,
    scale: grows ? state.scale * 2 : state.scale,
    hysteresis: grows || consecutiveHysteresis ? hysteresis : state.hysteresis,
  };
}

function exhausted(scale: number): TrainyardError {
  return new TrainyardError('LOSS_SCALE_EXHAUSTED', {
    what: 'Gradients overflow fp16 at the smallest loss scale.',
    where: 'fp16.min_loss_scale',
    got: `loss scale ${scale}`,
    cure: 'Lower the learning rate, or compute in bf16: its range is that of fp32.',
  });
}

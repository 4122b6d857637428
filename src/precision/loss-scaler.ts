import { z } from 'zod';
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
 * What the scale does about a step that overflows now: it tolerates it or falls, it cannot fall further, or it is one that
 * never moves. Where the scale is `spent`, gradients overflow that nothing multiplies any more (DeepSpeed raises there).
 */
export type OverflowAnswer = 'falls' | 'spent' | 'static';

export function overflowAnswer(scaling: LossScaling, state: LossScalerState): OverflowAnswer {
  if (scaling.kind === 'static') return 'static';
  return state.hysteresis === 1 && state.scale === scaling.minimumScale ? 'spent' : 'falls';
}

/**
 * The state after a step. A dynamic scale follows DeepSpeed's rule (`DynamicLossScaler` in
 * runtime/fp16/loss_scaler.py): the `hysteresis`-th overflow and every one after it halve the scale, `window`
 * steps in a row without one double it and restore the tolerance. A static scale stays, and so does the smallest one, of
 * which `overflowAnswer` tells before.
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

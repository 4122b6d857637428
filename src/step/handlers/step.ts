import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import { isFiniteStep } from '../non-finite.js';
import type { StepState } from './step-state.js';

/**
 * `step`: one optimizer update with the clipped mean gradient. None where there was an overflow, and none whose numbers are
 * not finite: parameters that are still good stay so, bit by bit.
 */
export function step(state: StepState): Handlers['step'] {
  const { optimizer } = state.resources;
  const { update } = state.inputs;
  return ({ unlessOverflow = false }) => {
    if (unlessOverflow && state.overflow !== undefined) return;
    invariant(optimizer && update && state.metrics, 'a step ran without an optimizer or before the norm');
    if (!isFiniteStep(state.metrics)) return;
    const { gradientScale } = state.metrics;
    noGrad(() => optimizer.step({ ...update, gradientScale }));
  };
}

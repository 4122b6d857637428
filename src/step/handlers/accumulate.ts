import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import { isFiniteStep } from '../non-finite.js';
import type { Program } from '../program.js';
import type { StepState } from './step-state.js';

/**
 * `accumulate`: this rank's share of the new momentum, β · m / N + (1 − β) · g, where g is its share of the clipped mean
 * gradient; the sum over N ranks is the momentum. After an overflow it stays as it was.
 */
export function accumulate(program: Program, state: StepState): Handlers['accumulate'] {
  const { momentum } = state.resources;
  const ranks = program.groups.data.length;
  return ({ decay, unlessOverflow = false }) => {
    if (unlessOverflow && state.overflow !== undefined) return;
    invariant(momentum && state.metrics, 'there is no momentum, or no norm yet');
    if (!isFiniteStep(state.metrics)) return;
    const { gradientScale } = state.metrics;
    const beta = state.inputs.update?.momentum ?? decay;
    noGrad(() => {
      momentum.mul_(beta / ranks).add_(state.gradients.values, { alpha: (1 - beta) * gradientScale });
    });
  };
}

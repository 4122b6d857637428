import { TrainyardError } from '../base/errors.js';
import type { StepMetrics } from './handlers/step-state.js';

/**
 * Decides whether a step's gradients may reach the parameters: here, before the update, so that parameters which are
 * still good stay so. The numbers are the same on every rank, and so is the decision.
 *
 * @throws TrainyardError TRAINING_DIVERGED for a loss or a gradient norm that is not finite
 */
export function demandFinite({ loss, gradientNorm }: StepMetrics, step: number): void {
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return;
  throw new TrainyardError('TRAINING_DIVERGED', {
    what: `The ${Number.isFinite(loss) ? 'gradient norm' : 'loss'} of step ${step} is not finite; nothing was saved.`,
    expected: 'finite numbers',
    got: `loss ${loss}, gradient norm ${gradientNorm}`,
    cure: 'Lower optimizer.params.lr, warm it up with a scheduler, or look for what is odd in the data of this step.',
  });
}

import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import { localAgreement } from './local-agreement.js';
import type { StepState } from './step-state.js';

/** Keeps the division defined when all gradients are zero; PyTorch and DeepSpeed add the same. */
const NORM_EPSILON = 1e-6;

/**
 * `clip`: reads the tally, and with it turns the gradient of the scaled sum into that of the mean over all
 * target tokens; measures its norm; finds the factor that brings the norm down to the maximum. No gradient
 * is touched: the optimizer multiplies by the factor as it reads them.
 */
export function clip(program: Program, state: StepState): Handlers['clip'] {
  return ({ maximumNorm }) => {
    const { lossSum, tokens, stopVotes, squares } = state.agreed ?? localAgreement(program, state);
    const meanScale = tokens === 0 ? 0 : 1 / (state.inputs.lossScale * tokens);
    const gradientNorm = Math.sqrt(squares) * meanScale;
    const clipScale =
      maximumNorm === undefined ? 1 : Math.min(1, maximumNorm / (gradientNorm + NORM_EPSILON));
    state.metrics = {
      loss: lossSum * meanScale,
      tokens,
      gradientNorm,
      meanScale,
      gradientScale: meanScale * clipScale,
      stopVotes,
      ...(state.overflow !== undefined && { overflow: state.overflow }),
    };
  };
}

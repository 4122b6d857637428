import { invariant } from '../../base/errors.js';
import { normSquared } from '../../tensor/generated/functions.js';
import type { Tensor } from '../../tensor/tensor.js';
import { demandFinite } from '../demand-finite.js';
import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import type { Agreement, StepState } from './step-state.js';

/** Keeps the division defined when all gradients are zero; PyTorch and DeepSpeed add the same. */
const NORM_EPSILON = 1e-6;

/**
 * `clip`: reads the tally, and with it turns the gradient of the scaled sum into that of the mean over all
 * target tokens; measures its norm; finds the factor that brings the norm down to the maximum. No gradient
 * is touched: the optimizer multiplies by the factor as it reads them. Numbers that are not finite end the run here.
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
    };
    const { update } = state.inputs;
    if (program.goal === 'update' && update !== undefined) demandFinite(state.metrics, update.step);
  };
}

/** What a rank with all gradients knows alone once the reductions are done. */
function localAgreement(program: Program, { gradients, resources }: StepState): Agreement {
  const [lossSum = 0, tokens = 0, stopVotes = 0] = gradients.tally.toArray();
  const { values } = gradients;
  const ranks = program.groups.data.length;
  if (ranks === 1) return { lossSum, tokens, stopVotes, squares: squaresOf(values) };
  // In the order in which ranks that own slices add up theirs: the norm is the same to the last bit.
  const perRank = program.groups.data.map((_, rank) =>
    resources.parameters.layout.ranges.reduce((sum, { start, end }) => {
      const length = (end - start) / ranks;
      invariant(Number.isInteger(length), 'a layout was planned for another number of ranks');
      return sum + squaresOf(values.narrow(0, start + rank * length, length));
    }, 0),
  );
  return { lossSum, tokens, stopVotes, squares: perRank.reduce((sum, part) => sum + part, 0) };
}

function squaresOf(slice: Tensor): number {
  return slice.elements === 0 ? 0 : normSquared(slice).item();
}

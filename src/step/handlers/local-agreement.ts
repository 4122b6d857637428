import { invariant } from '../../base/errors.js';
import { normSquared } from '../../tensor/generated/functions.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Program } from '../program.js';
import type { Agreement, StepState } from './step-state.js';

/** What a rank with all gradients knows alone once the reductions are done. */
export function localAgreement(program: Program, { gradients, resources }: StepState): Agreement {
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

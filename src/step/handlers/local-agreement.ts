import { invariant } from '../../base/errors.js';
import { membersOf, type Program } from '../program.js';
import { countedSquares } from './counted-squares.js';
import type { Agreement, StepState } from './step-state.js';

/** What a rank with all gradients knows alone once the reductions are done. */
export function localAgreement(program: Program, { gradients, resources }: StepState): Agreement {
  const [lossSum = 0, tokens = 0, votes = 0] = gradients.tally.toArray();
  // A replica that others meet may not stop alone: they would wait for it.
  const stopVotes = membersOf(program, 'replicas').length > 1 ? 0 : votes;
  const { values } = gradients;
  const { layout } = resources.parameters;
  const ranks = program.groups.data.length;
  // In the order in which ranks that own slices add up theirs: the norm is the same to the last bit.
  const perRank = program.groups.data.map((_, rank) =>
    layout.ranges.reduce((sum, { start, end }) => {
      const length = (end - start) / ranks;
      invariant(Number.isInteger(length), 'a layout was planned for another number of ranks');
      const from = start + rank * length;
      return sum + countedSquares(values.narrow(0, from, length), from, layout);
    }, 0),
  );
  return { lossSum, tokens, stopVotes, squares: perRank.reduce((sum, part) => sum + part, 0) };
}

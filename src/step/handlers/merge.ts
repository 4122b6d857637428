import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import { normSquared } from '../../tensor/generated/functions.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { membersOf, type Program } from '../program.js';
import type { StepState } from './step-state.js';

/**
 * `merge`: the mean of all replicas' rows, added up in the order of ranks; how far each row is from it; and one step of
 * the outer optimizer, whose gradient is the difference of the common weights to that mean (Douillard et al. 2023,
 * algorithm 1).
 */
export function merge(program: Program, state: StepState): Handlers['merge'] {
  const { outer } = state.resources;
  const ranks = membersOf(program, 'replicas').length;
  return () => {
    invariant(outer, 'replicas are brought together by an outer optimizer');
    noGrad(() => {
      const whole = state.gradients.values;
      const length = whole.elements / ranks;
      const rows = Array.from({ length: ranks }, (_, rank) => whole.narrow(0, rank * length, length));
      const mean = meanOf(rows);
      state.distances = {
        mean: squaresOf(mean),
        differences: rows.map((row) => squaresOf(row.sub_(mean))),
      };
      // The rows are read, and the first of them is where the outer optimizer looks.
      outer.difference.copy_(outer.common).sub_(mean);
      outer.step();
    });
  };
}

function meanOf([first, ...others]: readonly Tensor[]): Tensor {
  invariant(first, 'there is a replica on every rank');
  const sum = first.clone();
  for (const row of others) sum.add_(row);
  return sum.div_(others.length + 1);
}

function squaresOf(values: Tensor): number {
  return values.elements === 0 ? 0 : scope(() => normSquared(values).item());
}

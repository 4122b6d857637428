import { invariant } from '../../base/errors.js';
import { tensor as makeTensor } from '../../tensor/create.js';
import { normSquared, zeros } from '../../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction.js';
import type { Program } from '../program.js';
import type { StepState } from './step-state.js';

/**
 * `agree`: every rank learns of the others' tally and sum of squared gradients, and adds them up in the order
 * of ranks, so that all come to the same numbers. Where gradients stay with their ranks it is the norm of each: their sum
 * is what the norm of the summed gradients is at most, and stands for it.
 */
export function agree(program: Program, state: StepState): Handlers['agree'] {
  const { group } = state.resources;
  return (instruction) => {
    invariant(group, 'a program of one rank has nobody to agree with');
    const isOwn = instruction.gradients === 'own';
    const measure = isOwn ? Math.sqrt(squaresOf(state.gradients.values)) : sumOfSquares(state);
    const own = Float64Array.of(...state.gradients.tally.toArray(), measure);
    const tensor = zeros([program.groups.data.length * own.length], { dtype: 'float64' });
    const work = group.allGather(tensor, makeTensor(own));
    const finish = (): void => {
      work.wait();
      const all = tensor.toArray();
      const sumOf = (item: number): number =>
        all.reduce((sum, value, index) => (index % own.length === item ? sum + value : sum), 0);
      const squares = isOwn ? sumOf(3) ** 2 : sumOf(3);
      state.agreed = { lossSum: sumOf(0), tokens: sumOf(1), stopVotes: sumOf(2), squares };
    };
    state.started.put({ tensors: [keep(tensor)], work: { wait: finish } }, startName(instruction));
  };
}

function sumOfSquares(state: StepState): number {
  return state.shards.gradients.reduce((sum, slice) => sum + squaresOf(slice), 0);
}

function squaresOf(values: Tensor): number {
  return values.elements === 0 ? 0 : scope(() => normSquared(values).item());
}

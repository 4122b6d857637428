import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction.js';
import type { Program } from '../program.js';
import type { StepState } from './step-state.js';

/**
 * `scatter`: the sum over the ranks of one part of every slice of a block's gradients. The sum of the own slice
 * is made in place; where gradients are not kept it is then added to the shard.
 */
export function scatter(program: Program, state: StepState): Handlers['scatter'] {
  const { group, parameters } = state.resources;
  return (instruction) => {
    const part = program.sharding?.parts[instruction.part];
    const shard = part && state.shards.gradients[part.block];
    invariant(group && shard, `a program of one rank scatters part ${instruction.part}`);
    const { start, end } = part;
    const { gradients } = parameters.memoryOf(part.block);
    invariant(gradients, 'gradients are reduced where none are wanted');
    const inputs = program.groups.data.map((_, rank) =>
      gradients.narrow(0, rank * shard.elements + start, end - start),
    );
    const own = inputs[program.rank];
    invariant(own, `rank ${program.rank} is not among the ranks that reduce`);
    const tensor = keep(own);
    const work = group.reduceScatter(tensor, inputs, 'sum');
    const isKept = program.sharding?.gradients === 'kept';
    const finish = (): void => {
      work.wait();
      if (!isKept) noGrad(() => shard.narrow(0, start, end - start).add_(tensor));
    };
    state.started.put({ tensor, work: { wait: finish } }, startName(instruction));
  };
}

import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import type { StepState } from './step-state.js';

/**
 * `update`: takes the update that the step before has left to the end of a block, or a share further; what it reads and
 * writes goes on after that.
 */
export function update(state: StepState): Handlers['update'] {
  return (instruction) =>
    noGrad(() => {
      if (!('block' in instruction))
        return state.pending.advance((instruction.share + 1) / instruction.shares);
      const work = state.pending.bringUpTo(instruction.block);
      state.started.put({ tensors: [], work }, startName(instruction));
    });
}

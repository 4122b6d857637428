import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `copy`: this rank's slice of the second copy, taken from a block that is whole. */
export function copy(state: StepState): Handlers['copy'] {
  const { parameters, secondary } = state.resources;
  return ({ block }) => {
    invariant(secondary, 'a second copy is made where there is nobody to divide it with');
    const { values } = parameters.memoryOf(block);
    const elements = values.elements / secondary.group.worldSize;
    const slice = values.narrow(0, secondary.group.rank * elements, elements);
    noGrad(() => secondary.sliceOf(block, elements).copy_(slice));
  };
}

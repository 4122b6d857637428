import { invariant } from '../../base/errors.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import type { StepState } from './step-state.js';

/** `exchange`: a row of every replica's weights arrives in the gradient buffer, in the order of ranks. */
export function exchange(state: StepState): Handlers['exchange'] {
  const { group } = state.resources;
  return (instruction) => {
    invariant(group, 'replicas are brought together in a group');
    const work = group.allToAll(state.gradients.values, state.weights);
    state.started.put({ tensors: [], work }, startName(instruction));
  };
}

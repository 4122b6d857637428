import { invariant } from '../../base/errors.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import type { StepState } from './step-state.js';

/** `publish`: the slices of the common weights become the weights of every replica. */
export function publish(state: StepState): Handlers['publish'] {
  const { group, outer } = state.resources;
  return (instruction) => {
    invariant(group && outer, 'replicas are brought together in a group');
    const work = group.allGather(state.weights, outer.common);
    state.started.put({ tensors: [], work }, startName(instruction));
  };
}

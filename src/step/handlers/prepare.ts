import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `prepare`: a block's gradients get memory and begin at zero. */
export function prepare(state: StepState): Handlers['prepare'] {
  return ({ block }) => {
    state.resources.parameters.allocateGradients(block).zero_();
  };
}

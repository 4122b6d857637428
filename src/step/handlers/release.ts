import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `release`: frees a block's parameters or gradients; its views stay and are filled again by the next use. */
export function release(state: StepState): Handlers['release'] {
  const { parameters } = state.resources;
  return ({ block, memory }) => {
    if (memory === 'parameters') parameters.releaseValues(block);
    else parameters.releaseGradients(block);
  };
}

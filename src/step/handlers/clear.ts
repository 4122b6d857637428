import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `clear`: gradients and tally begin at zero. */
export function clear(state: StepState): Handlers['clear'] {
  return () => {
    state.gradients.buffer.zero_();
  };
}

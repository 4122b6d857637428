import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `clear`: gradients and tally begin at zero, but for this rank's vote to stop. */
export function clear(state: StepState): Handlers['clear'] {
  return () => {
    const { buffer, tally } = state.gradients;
    buffer.zero_();
    if (state.inputs.votesToStop) tally.select(0, 2).fill_(1);
  };
}

import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import type { StepState } from './step-state.js';

/** `clear`: gradients and tally begin at zero, but for this rank's vote to stop. */
export function clear(program: Program, state: StepState): Handlers['clear'] {
  return () => {
    const { buffer, tally } = state.gradients;
    if (program.sharding?.gradients === 'released') {
      for (const slice of state.shards.gradients) slice.zero_();
    }
    buffer.zero_();
    if (state.inputs.votesToStop) tally.select(0, 2).fill_(1);
  };
}

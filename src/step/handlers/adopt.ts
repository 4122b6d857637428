import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `adopt`: the weights that the update under the last step has made become those that this one computes with. */
export function adopt(state: StepState): Handlers['adopt'] {
  return () => state.pending.adopt();
}

import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `update`: takes the update that the step before has left a share further; what it reads and writes goes on after that. */
export function update(state: StepState): Handlers['update'] {
  return ({ share, shares }) => noGrad(() => state.pending.advance((share + 1) / shares));
}

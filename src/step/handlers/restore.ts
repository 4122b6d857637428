import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import { errorMemory } from './error-feedback.js';
import type { StepState } from './step-state.js';

/** `restore`: what messages of a step lost that is left out is as if they had never been sent. */
export function restore(program: Program, state: StepState): Handlers['restore'] {
  return () => {
    const { worker, server } = errorMemory(program, state);
    const copies = state.errorsBefore.take('errors');
    for (const [index, target] of [worker, server].entries()) {
      const copy = copies[index];
      if (state.overflow !== undefined && copy !== undefined) noGrad(() => target.copy_(copy));
      copy?.dispose();
    }
  };
}

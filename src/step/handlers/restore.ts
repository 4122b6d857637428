import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `restore`: what messages of a step lost that is left out is as if they had never been sent. */
export function restore(state: StepState): Handlers['restore'] {
  return () => {
    const { errors } = state.resources;
    invariant(errors, 'there is no memory of errors to restore');
    const copies = state.errorsBefore.take('errors');
    for (const [index, target] of [errors.worker, errors.server].entries()) {
      const copy = copies[index];
      if (state.overflow !== undefined && copy !== undefined) noGrad(() => target.copy_(copy));
      copy?.dispose();
    }
  };
}

import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `remember`: copies what messages have lost so far. */
export function remember(state: StepState): Handlers['remember'] {
  return () => {
    const { errors } = state.resources;
    invariant(errors, 'there is no memory of errors to copy');
    const copies = [errors.worker, errors.server].map((each) => keep(noGrad(() => each.clone())));
    state.errorsBefore.put(copies, 'errors');
  };
}

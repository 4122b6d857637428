import { noGrad } from '../../tensor/autograd.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import { errorMemory } from './error-feedback.js';
import type { StepState } from './step-state.js';

/** `remember`: copies what messages have lost so far. */
export function remember(program: Program, state: StepState): Handlers['remember'] {
  return () => {
    const { worker, server } = errorMemory(program, state);
    const copies = [worker, server].map((each) => keep(noGrad(() => each.clone())));
    state.errorsBefore.put(copies, 'errors');
  };
}

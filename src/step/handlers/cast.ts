import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import { sameMemory } from './same-memory.js';
import type { StepState } from './step-state.js';

/** `cast`: a block's parameters become what the fp32 weights are in 16 bits. */
export function cast(state: StepState): Handlers['cast'] {
  const { masters, parameters } = state.resources;
  return ({ block }) => {
    const range = parameters.layout.ranges[block];
    invariant(masters && range, `there are no weights to make block ${block} from`);
    const { start, end } = range;
    // Other blocks of the same buffer may be in use already.
    const copies = sameMemory(parameters.memoryOf(block).values);
    noGrad(() => copies.copy_(masters.narrow(0, start, end - start)));
  };
}

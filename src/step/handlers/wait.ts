import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import type { StepState } from './step-state.js';

/** `wait`: blocks until what was started is done. */
export function wait(state: StepState): Handlers['wait'] {
  return ({ started }) => {
    const name = startName(started);
    state.started.get(name).work.wait();
    for (const tensor of state.started.take(name).tensors) tensor.dispose();
  };
}

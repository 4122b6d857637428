import type { Handlers } from '../executor.js';
import { startName } from '../instruction.js';
import type { StepState } from './step-state.js';

/** `wait`: blocks until what was started is done. */
export function wait(state: StepState): Handlers['wait'] {
  return ({ started }) => {
    const { work, tensor } = state.started.take(startName(started));
    work.wait();
    tensor.dispose();
  };
}

import type { Device } from '../../tensor/dtype.js';
import { randomState, setRandomState } from '../../tensor/random.js';
import type { Handlers } from '../executor.js';
import { runBlock } from './run-block.js';
import { disposeAll, type StepState } from './step-state.js';

/**
 * `recompute`: the forward that dropped its graph once more, from the same input and with the same random
 * numbers. Its output takes the place of the first one. The loss is in the tally already.
 */
export function recompute(state: StepState): Handlers['recompute'] {
  return ({ block, micro }) => {
    const dropped = state.forwards.get(block, micro);
    disposeAll(dropped.output);
    const { device } = state.batches.get(micro).inputIds;
    const record = replaying(dropped.randomState, device, () => runBlock(state, block, micro));
    state.forwards.put(record, block, micro);
  };
}

/** Runs `body` with the generator as it was then, and leaves it as it is now. */
function replaying<Result>(then: Uint8Array | undefined, device: Device, body: () => Result): Result {
  if (then === undefined) return body();
  const now = randomState(device);
  setRandomState(then, device);
  try {
    return body();
  } finally {
    setRandomState(now, device);
  }
}

import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** `load`: the batch source makes the tensors; they stay until the first block's backward. */
export function load(state: StepState): Handlers['load'] {
  return ({ micro }) => {
    const batch = state.inputs.nextBatch(micro);
    keep(batch.inputIds);
    if (batch.labels !== undefined) keep(batch.labels);
    state.batches.put(batch, micro);
  };
}

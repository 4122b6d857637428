import { invariant } from '../../base/errors.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction.js';
import { bucketElements, type Program } from '../program.js';
import type { StepState } from './step-state.js';

/** `reduce`: starts the sum of one bucket, in place in the gradient buffer. */
export function reduce(program: Program, state: StepState): Handlers['reduce'] {
  const { group } = state.resources;
  return (instruction) => {
    const bucket = program.buckets[instruction.bucket];
    invariant(group && bucket, `a program of one rank reduces bucket ${instruction.bucket}`);
    const tensor = keep(state.gradients.buffer.narrow(0, bucket.start, bucketElements(bucket)));
    state.started.put({ tensor, work: group.allReduce(tensor, 'sum') }, startName(instruction));
  };
}

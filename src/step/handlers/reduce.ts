import { invariant } from '../../base/errors.js';
import { createCodec } from '../../comm/codec.js';
import { CompressedReductions } from '../../comm/compressed-reductions.js';
import { gatheredSum } from '../../comm/gathered-sum.js';
import { TALLY_ELEMENTS } from '../../nn/flat-layout.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction.js';
import { bucketElements, type Program } from '../program.js';
import { errorFeedback } from './error-feedback.js';
import type { StepState } from './step-state.js';

/**
 * `reduce`: starts the sum of one bucket, in place in the gradient buffer. With compression the tally travels
 * beside the gradients, as it is: tokens and votes are counted, not estimated.
 */
export function reduce(program: Program, state: StepState): Handlers['reduce'] {
  const { group } = state.resources;
  const compressed = group && new CompressedReductions(group);
  const feedback = errorFeedback(program, state);
  return (instruction) => {
    const bucket = program.buckets[instruction.bucket];
    invariant(group && compressed && bucket, `a program of one rank reduces bucket ${instruction.bucket}`);
    const { buffer } = state.gradients;
    const { compression } = instruction;
    const name = startName(instruction);
    if (compression === undefined) {
      const tensor = buffer.narrow(0, bucket.start, bucketElements(bucket));
      const work = group.allReduce(tensor, 'sum');
      state.started.put({ tensors: [keep(tensor)], work }, name);
      return;
    }
    const tensor = buffer.narrow(0, bucket.start, bucket.end - bucket.start);
    const tally = bucket.carriesTally
      ? gatheredSum(group, buffer.narrow(0, bucket.end, TALLY_ELEMENTS))
      : undefined;
    const errors = feedback?.ofBucket(instruction.bucket);
    const values = compressed.allReduce(tensor, createCodec(compression), errors);
    const wait = () => {
      tally?.wait();
      values.wait();
      feedback?.settleBucket(instruction.bucket, tensor);
    };
    state.started.put({ tensors: [keep(tensor)], work: { wait } }, name);
  };
}

import { invariant } from '../../base/errors.js';
import { createCodec } from '../../comm/codec.js';
import { CompressedReductions } from '../../comm/compressed-reductions.js';
import type { ActiveCompression } from '../../comm/config.js';
import { gatheredSum } from '../../comm/gathered-sum.js';
import { finishedWork, followedBy, type Work } from '../../comm/work.js';
import { TALLY_ELEMENTS } from '../../nn/flat-layout.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import { bucketElements, type Program } from '../program.js';
import { errorFeedback } from './error-feedback.js';
import type { StepState } from './step-state.js';

/**
 * `reduce`: starts the sum of one bucket, in place in the gradient buffer. With compression the tally travels
 * beside the gradients, as it is: tokens and votes are counted, not estimated. Of a momentum, the sum of what `accumulate`
 * made on each rank; of a step that overflows there is none.
 */
export function reduce(program: Program, state: StepState): Handlers['reduce'] {
  const { group, momentum } = state.resources;
  const compressed = group && new CompressedReductions(group);
  const compressedSum = (index: number, values: Tensor, compression: ActiveCompression): Work => {
    invariant(compressed, 'a program of one rank compresses nothing');
    const codec = createCodec(compression);
    if (!codec.feedsBack) return compressed.allReduce(values, codec);
    const feedback = errorFeedback(program, state);
    const sum = compressed.allReduce(values, codec, feedback.ofBucket(index));
    return followedBy(sum, () => feedback.settleBucket(index, values));
  };
  return (instruction) => {
    const bucket = program.buckets[instruction.bucket];
    invariant(group && bucket, `a program of one rank reduces bucket ${instruction.bucket}`);
    const { start, end, carriesTally } = bucket;
    const { compression } = instruction;
    const name = startName(instruction);
    if (instruction.of === 'momentum') {
      invariant(momentum && compression, 'there is no momentum to exchange');
      const tensor = momentum.narrow(0, start, end - start);
      const isLeftOut = state.overflow !== undefined;
      const work = isLeftOut ? finishedWork : compressedSum(instruction.bucket, tensor, compression);
      state.started.put({ tensors: [keep(tensor)], work }, name);
      return;
    }
    const { buffer } = state.gradients;
    if (compression === undefined) {
      const tensor = buffer.narrow(0, start, bucketElements(bucket));
      const work = group.allReduce(tensor, 'sum');
      state.started.put({ tensors: [keep(tensor)], work }, name);
      return;
    }
    const tensor = buffer.narrow(0, start, end - start);
    const tally = carriesTally ? gatheredSum(group, buffer.narrow(0, end, TALLY_ELEMENTS)) : finishedWork;
    const values = compressedSum(instruction.bucket, tensor, compression);
    const work = followedBy(tally, () => values.wait());
    state.started.put({ tensors: [keep(tensor)], work }, name);
  };
}

import { invariant } from '../../base/errors.js';
import type { MessageErrors } from '../../comm/compressed-reductions.js';
import type { FlatRange } from '../../nn/flat-layout.js';
import type { Tensor } from '../../tensor/tensor.js';
import { type ErrorMemory, paddingOf } from '../message-errors.js';
import type { GradientPart, Program } from '../program.js';
import { dataPlace } from '../sharding.js';
import type { StepState } from './step-state.js';

/**
 * The errors of a program's messages, by what the messages say. When a sum is there, it and its errors are `settled`:
 * elements between parameters become zero again, which a code without a zero would move, and with them the norm.
 */
export interface ErrorFeedback {
  ofBucket(bucket: number): Required<MessageErrors>;
  settleBucket(bucket: number, sum: Tensor): void;
  /** A row for each rank. */
  ofPart(part: GradientPart): MessageErrors;
  /** @param sum of the own row */
  settlePart(part: GradientPart, sum: Tensor): void;
}

/** The memory of errors, as errors of what this step exchanges: those of gradients are scaled as the loss is. */
export function errorMemory(program: Program, { resources, inputs }: StepState): ErrorMemory {
  const { errors } = resources;
  invariant(errors && program.errorFeedback, 'a program with error feedback ran without memory for errors');
  errors.expressIn(program.errorFeedback.of === 'gradients' ? inputs.lossScale : 1);
  return errors;
}

/** The feedback of a program whose messages need it. */
export function errorFeedback(program: Program, state: StepState): ErrorFeedback {
  const { worker, server } = errorMemory(program, state);
  const padding = paddingOf(program);
  const clear = (values: Tensor, { start, end }: FlatRange): void => {
    for (const gap of padding) {
      const [from, to] = [Math.max(start, gap.start), Math.min(end, gap.end)];
      if (from < to) values.narrow(0, from - start, to - from).zero_();
    }
  };
  const placesOf = (index: number) => {
    const [bucket, chunk] = [program.buckets[index], program.errorFeedback?.server[index]];
    invariant(bucket && chunk, `there is no bucket ${index}`);
    const errorsOf = {
      worker: worker.narrow(0, bucket.start, bucket.end - bucket.start),
      server: server.narrow(0, chunk.offset, chunk.end - chunk.start),
    };
    return { bucket, chunk, errorsOf };
  };
  const rangeOf = ({ block }: GradientPart): FlatRange => {
    const range = program.sharding?.ranges[block];
    invariant(range, `block ${block} has no range`);
    return range;
  };
  const ofBlock = (part: GradientPart): Tensor => {
    const { start, end } = rangeOf(part);
    return worker.narrow(0, start, end - start);
  };
  const ranks = program.groups.data.length;
  return {
    ofBucket: (index) => placesOf(index).errorsOf,
    settleBucket(index, sum) {
      const { bucket, chunk, errorsOf } = placesOf(index);
      clear(sum, bucket);
      clear(errorsOf.worker, bucket);
      clear(errorsOf.server, chunk);
    },
    ofPart: (part) => ({
      worker: ofBlock(part)
        .view([ranks, -1])
        .narrow(1, part.start, part.end - part.start),
    }),
    settlePart(part, sum) {
      const range = rangeOf(part);
      const rowStart = range.start + (dataPlace(program) * (range.end - range.start)) / ranks;
      clear(sum, { start: rowStart + part.start, end: rowStart + part.end });
      clear(ofBlock(part), range);
    },
  };
}

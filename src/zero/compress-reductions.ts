import { createCodec } from '../comm/codec.js';
import type { ActiveCompression } from '../comm/config.js';
import { compressionName } from '../step/compressed-messages.js';
import { ownChunks } from '../step/message-errors.js';
import type { ErrorFeedbackLayout, Pass, Program } from '../step/program.js';
import { compressExchanges } from './compress-exchanges.js';

export interface CompressReductionsOptions {
  readonly compression: ActiveCompression;
  /** Target tokens of one sequence, roughly. */
  readonly sequenceLength: number;
}

/**
 * Gradients travel in fewer bits (DeepSpeed: communication_data_type): every `reduce`, `scatter` and `sum` that the
 * program has by now. A program of one rank stays as it is.
 */
export function compressReductions({ compression, sequenceLength }: CompressReductionsOptions): Pass {
  const inMemory = scaledForMemory(compression, sequenceLength);
  const compress = compressExchanges(
    { kinds: ['reduce', 'scatter', 'sum'], compression: inMemory },
    `gradients in ${compressionName(inMemory)}`,
  );
  return (program) => {
    const compressed = compress(program);
    return compressed !== program && createCodec(compression).feedsBack
      ? { ...compressed, errorFeedback: feedbackLayout(program) }
      : compressed;
  };
}

/** All gradients are encoded, and at stage 0 the sums of the own chunks too. */
function feedbackLayout(program: Program): ErrorFeedbackLayout {
  return { of: 'gradients', worker: program.trainableElements, server: ownChunks(program) };
}

/**
 * A static scale is meant for the gradient of the mean loss. In memory is that of the sum over tokens divided by
 * the number of sequences (see `StepInputs.lossScale`), which is longer by the length of a sequence; as a power
 * of two, so that a power of two as the scale stays one.
 */
export function scaledForMemory(compression: ActiveCompression, sequenceLength: number): ActiveCompression {
  if (compression.type !== 'fp16-static') return compression;
  return { ...compression, scale: compression.scale * 2 ** -Math.round(Math.log2(sequenceLength)) };
}

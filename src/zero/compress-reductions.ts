import { createCodec } from '../comm/codec.js';
import type { ActiveCompression } from '../comm/config.js';
import { compressionName } from '../step/compressed-messages.js';
import type { Instruction } from '../step/instruction.js';
import { ownChunks } from '../step/message-errors.js';
import type { ErrorFeedbackSize, Pass, Program } from '../step/program.js';

export interface CompressReductionsOptions {
  readonly compression: ActiveCompression;
  /** Target tokens of one sequence, roughly. */
  readonly sequenceLength: number;
}

/**
 * Gradients travel in fewer bits (DeepSpeed: communication_data_type): every `reduce` and every `scatter` that the
 * program has by now. A program of one rank stays as it is.
 */
export function compressReductions({ compression, sequenceLength }: CompressReductionsOptions): Pass {
  return (program) => {
    if (!program.instructions.some(isReduction)) return program;
    const inMemory = scaledForMemory(compression, sequenceLength);
    return {
      ...program,
      ...(createCodec(compression).feedsBack && { errorFeedback: feedbackSize(program) }),
      instructions: program.instructions.map((instruction) => withCompression(instruction, inMemory)),
      features: [...program.features, `gradients in ${compressionName(inMemory)}`],
    };
  };
}

/** All gradients are encoded, and at stage 0 the sums of the own chunks too. */
function feedbackSize(program: Program): ErrorFeedbackSize {
  const server = ownChunks(program).reduce((sum, { start, end }) => sum + end - start, 0);
  return { worker: program.trainableElements, server };
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

function isReduction(instruction: Instruction): instruction is Instruction<'reduce' | 'scatter'> {
  return instruction.op === 'reduce' || instruction.op === 'scatter';
}

function withCompression(instruction: Instruction, compression: ActiveCompression): Instruction {
  if (isReduction(instruction)) return { ...instruction, compression };
  if (instruction.op !== 'wait' || !isReduction(instruction.started)) return instruction;
  return { ...instruction, started: { ...instruction.started, compression } };
}

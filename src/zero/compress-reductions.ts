import type { ActiveCompression, Compression } from '../comm/config.js';
import type { Instruction } from '../step/instruction.js';
import type { Pass } from '../step/program.js';

export interface CompressReductionsOptions {
  readonly compression: Compression;
  /** Target tokens of one sequence, roughly. */
  readonly sequenceLength: number;
}

/**
 * Gradients travel in 16 bits (DeepSpeed: communication_data_type). A program that reduces nothing stays as it
 * is.
 */
export function compressReductions({ compression, sequenceLength }: CompressReductionsOptions): Pass {
  return (program) => {
    const reduces = program.instructions.some(({ op }) => op === 'reduce');
    if (compression.type === 'none' || !reduces) return program;
    const inMemory = scaledForMemory(compression, sequenceLength);
    return {
      ...program,
      instructions: program.instructions.map((instruction) => withCompression(instruction, inMemory)),
      features: [...program.features, `gradients in ${compression.type.replace('-', ' ')}`],
    };
  };
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

function withCompression(instruction: Instruction, compression: ActiveCompression): Instruction {
  switch (instruction.op) {
    case 'reduce':
      return { ...instruction, compression };
    case 'wait':
      return instruction.started.op === 'reduce'
        ? { ...instruction, started: { ...instruction.started, compression } }
        : instruction;
    default:
      return instruction;
  }
}

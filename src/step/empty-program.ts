import type { FlatLayout } from '../nn/flat-layout.js';
import type { Program, ProgramBlock } from './program.js';

/**
 * A step before its first pass: what there is to work on, and nothing done with it. What is not said is that of one rank, or
 * of the first of several along the data axis, that keeps fp32 and nothing beside it.
 */
export function emptyProgram(given: Partial<Program> & Pick<Program, 'blocks'>): Program {
  const { worldSize = 1 } = given;
  return {
    rank: 0,
    worldSize,
    goal: 'update',
    features: [],
    microBatches: 1,
    trainableElements: 0,
    bytesPerElement: 4,
    batchBytes: 0,
    optimizerBytes: 0,
    groups: { data: Array.from({ length: worldSize }, (_, rank) => rank) },
    buckets: [],
    instructions: [],
    ...given,
  };
}

/** Blocks with their parameters, and how many values are trained, as a layout says. What is not said takes nothing. */
export function laidOut(
  blocks: readonly (Pick<ProgramBlock, 'name'> & Partial<Omit<ProgramBlock, 'parameters'>>)[],
  layout: FlatLayout,
): Pick<Program, 'blocks' | 'trainableElements'> {
  return {
    blocks: blocks.map((block, index) => ({
      activationBytes: 0,
      outputBytes: 0,
      ...block,
      parameters: layout.blocks[index] ?? [],
    })),
    trainableElements: layout.trainableElements,
  };
}

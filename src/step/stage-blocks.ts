import { invariant } from '../base/errors.js';
import type { Program } from './program.js';

type Placed = Pick<Program, 'blocks' | 'pipeline'>;

/** The blocks that a rank runs, in the order of the model: all, or those of its stage. */
export function stageBlocks({ blocks, pipeline }: Placed): readonly number[] {
  return pipeline === undefined ? [...blocks.keys()] : pipeline.chunks.flat();
}

/** Whether a rank runs this block. */
export function isOfStage(block: number, { blocks, pipeline }: Placed): boolean {
  if (pipeline === undefined) return block >= 0 && block < blocks.length;
  return pipeline.chunks.some((chunk) => chunk.includes(block));
}

/** Whether a rank runs the block that computes the loss. */
export function hasLoss(program: Placed): boolean {
  return isOfStage(program.blocks.length - 1, program);
}

/** Whether a block takes its input from another rank. */
export function isInputReceived(block: number, program: Placed): boolean {
  return block > 0 && !isOfStage(block - 1, program);
}

/** Whether norm and tally are known only once the stages have told each other. */
export function isDividedIntoStages({ pipeline }: Placed): boolean {
  return pipeline !== undefined && pipeline.stages > 1;
}

/** The stage that a rank of the world has in this pipeline. */
export function stageOfRank(rank: number, { groups }: Pick<Program, 'groups'>): number {
  const stage = groups.pipeline?.indexOf(rank) ?? -1;
  invariant(stage !== -1, `rank ${rank} has no stage in this pipeline`);
  return stage;
}

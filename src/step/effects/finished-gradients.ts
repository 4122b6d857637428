import type { Program } from '../program.js';
import { isReplicated } from '../sharding.js';
import { isDividedIntoStages, stageBlocks } from '../stage-blocks.js';
import { agreed, agreedOver, contributionsTo, reduced } from './value-names.js';

/** Gradients as `clip` may use them: what all ranks know of them alike. */
export function finishedGradients(program: Program): readonly string[] {
  return isDividedIntoStages(program) ? [agreedOver('pipeline')] : gradientsOfStage(program);
}

/** Those of one stage: of all parts that its blocks have. */
export function gradientsOfStage(program: Program): readonly string[] {
  return (program.groups.tensor?.length ?? 1) > 1 ? [agreedOver('tensor')] : gradientsOfData(program);
}

/** Those of this rank's part of the model: summed along the data axis, or as they are where there is no one to sum with. */
export function gradientsOfData(program: Program): readonly string[] {
  return isReplicated(program) ? [agreedOver('replicate')] : gradientsOfGroup(program);
}

/** Those that the ranks know over which training state is divided. */
export function gradientsOfGroup(program: Program): readonly string[] {
  if (program.sharding !== undefined || isUnsummed(program)) return [agreed];
  if (program.buckets.length > 0) return program.buckets.map((_, index) => reduced(index));
  return contributionsTo({ blocks: stageBlocks(program), carriesTally: true }, program);
}

/** Whether gradients stay with the ranks that made them. */
function isUnsummed({ exchanges, groups }: Program): boolean {
  return exchanges === 'momentum' && groups.data.length > 1;
}

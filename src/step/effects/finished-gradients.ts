import type { Program } from '../program.js';
import { agreed, agreedOverTensor, contributionsTo, reduced } from './value-names.js';

/** Gradients as `clip` may use them: what all ranks know of them alike. */
export function finishedGradients(program: Program): readonly string[] {
  return (program.groups.tensor?.length ?? 1) > 1 ? [agreedOverTensor] : gradientsOfData(program);
}

/** Those of this rank's part of the model: summed along the data axis, or as they are where there is no one to sum with. */
export function gradientsOfData(program: Program): readonly string[] {
  if (program.sharding !== undefined || isUnsummed(program)) return [agreed];
  if (program.buckets.length > 0) return program.buckets.map((_, index) => reduced(index));
  const everything = { blocks: program.blocks.map((_, index) => index), carriesTally: true };
  return contributionsTo(everything, program);
}

/** Whether gradients stay with the ranks that made them. */
function isUnsummed({ exchanges, groups }: Program): boolean {
  return exchanges === 'momentum' && groups.data.length > 1;
}

import type { StagesOf } from '../comm/process-group.js';
import { bucketElements, type Pass } from '../step/program.js';

/**
 * Says of every sum over all ranks by which algorithm of our own the group will make it, and which messages that keeps
 * in memory. It comes last of what changes reductions: those that are compressed or in order go another way.
 */
export function nameAlgorithms(stagesOf: StagesOf): Pass {
  return (program) => {
    const rank = program.groups.data.indexOf(program.rank);
    const instructions = program.instructions.map((instruction) => {
      if (instruction.op !== 'reduce' || instruction.ordered || instruction.compression) return instruction;
      const bucket = program.buckets[instruction.bucket];
      const stages = bucket && stagesOf(rank, bucketElements(bucket));
      return stages === undefined ? instruction : { ...instruction, stages };
    });
    return { ...program, instructions };
  };
}

import type { Instruction } from '../step/instruction.js';
import type { Pass } from '../step/program.js';

/**
 * Makes the update of each step under the next one (ZeRO-Offload, arXiv 2101.06840, section 5.2: one-step delayed parameter
 * update): in equal shares, one before each forward and each backward, so that tiles are read and written while blocks
 * compute. The step computes with the weights from before that update, and adopts its weights when the next one begins.
 */
export const delayUpdate: Pass = (program) => {
  const shares = program.instructions.filter(isCompute).length;
  let share = 0;
  const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
    if (instruction.op === 'step') return [{ ...instruction, left: true }];
    if (!isCompute(instruction)) return [instruction];
    const update: Instruction = { op: 'update', share, shares };
    share += 1;
    return [update, instruction];
  });
  return { ...program, instructions: [{ op: 'adopt' }, ...instructions] };
};

function isCompute({ op }: Instruction): boolean {
  return op === 'forward' || op === 'backward';
}

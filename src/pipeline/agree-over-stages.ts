import type { Instruction } from '../step/instruction.js';
import type { Pass } from '../step/program.js';
import { isDividedIntoStages } from '../step/stage-blocks.js';

/**
 * Lets the stages tell each other tally and sum of squares before `clip`: only the last has losses, and each has the
 * gradients of its own blocks. After all passes over data-parallel ranks, whose sums it needs.
 */
export const agreeOverStages: Pass = (program) => {
  if (!isDividedIntoStages(program)) return program;
  const agree = { op: 'agree', over: 'pipeline' } as const;
  const instructions = program.instructions.flatMap((instruction): readonly Instruction[] =>
    instruction.op === 'clip' ? [agree, { op: 'wait', started: agree }, instruction] : [instruction],
  );
  return { ...program, instructions };
};

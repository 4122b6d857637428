import type { Instruction } from '../step/instruction.js';
import type { Pass } from '../step/program.js';

/**
 * What the messages of a step lost counts only if the step does: where an overflow may leave it out, errors are copied
 * before, and put back then. A program without error feedback, or without a check, stays as it is, and so does one that
 * exchanges momentum, which it does after the check.
 */
export function keepErrors(): Pass {
  return (program) => {
    const isChecked = program.instructions.some(({ op }) => op === 'check');
    if (program.errorFeedback?.of !== 'gradients' || !isChecked) return program;
    const restoring = program.instructions.flatMap((instruction): readonly Instruction[] =>
      instruction.op === 'check' ? [instruction, { op: 'restore' }] : [instruction],
    );
    return {
      ...program,
      errorFeedback: { ...program.errorFeedback, isRestored: true },
      instructions: [{ op: 'remember' }, ...restoring],
    };
  };
}

import type { Instruction } from '../step/instruction.js';
import type { Pass } from '../step/program.js';
import type { Precision } from './config.js';

/** When an update is left out: never, where gradients are not all finite, or where these or the loss are not. */
export type OverflowCheck = 'none' | 'gradients' | 'loss and gradients';

/**
 * Leaves out the update of a step whose numbers are not finite: all ranks find it out together before `clip`, and none of
 * them touches weights or optimizer states (DeepSpeed: fp16, `bf16.check_grad_overflow`).
 */
export function leaveOutOverflow(check: OverflowCheck): Pass {
  return (program) => {
    if (check === 'none' || program.goal !== 'update') return program;
    const looking: Instruction =
      check === 'loss and gradients' ? { op: 'check', loss: true } : { op: 'check' };
    const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
      if (instruction.op === 'clip') return [looking, instruction];
      return instruction.op === 'step' || instruction.op === 'accumulate'
        ? [{ ...instruction, unlessOverflow: true }]
        : [instruction];
    });
    return { ...program, instructions };
  };
}

/** What a precision asks for by itself. */
export function overflowCheckOf(precision: Precision): OverflowCheck {
  switch (precision.dtype) {
    case 'float32':
      return 'none';
    case 'bfloat16':
      return precision.checksOverflow ? 'gradients' : 'none';
    case 'float16':
      return 'gradients';
    default:
      return precision satisfies never;
  }
}

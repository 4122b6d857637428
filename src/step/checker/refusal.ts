import { TrainyardError } from '../../base/errors.js';
import { instructionText } from '../instruction-text.js';
import type { Program } from '../program.js';

/** The error for a program that cannot run: which rank, which instruction breaks it, and why. */
export function refusal(program: Program, position: number | undefined, reason: string): TrainyardError {
  const instruction = position === undefined ? undefined : program.instructions[position];
  const place = instruction === undefined ? '' : `, instruction ${position}: ${instructionText(instruction)}`;
  return new TrainyardError('PROGRAM_INVALID', {
    what: `The step program cannot run: ${reason}.`,
    where: `rank ${program.rank}${place}`,
  });
}

import { TrainyardError } from '../base/errors.js';
import type { Instruction, Operation } from './instruction.js';
import { instructionText } from './instruction-text.js';
import type { Program } from './program.js';

/** What each operation does on this rank. The compiler asks for a new one with every new operation. */
export type Handlers = { readonly [Op in Operation]: (instruction: Instruction<Op>) => void };

/** When one instruction ran, in milliseconds of `performance.now()`. */
export interface TimedInstruction {
  readonly position: number;
  readonly startMs: number;
  readonly endMs: number;
}

export interface ExecutionOptions {
  /** Number of the training step, for errors. */
  readonly step: number;
  /** Runs one instruction in a tensor scope of its own. */
  readonly runScoped: (body: () => void) => void;
  /** Called before every instruction. */
  readonly enter?: (instruction: Instruction) => void;
  /** Called after every instruction, when times are wanted. */
  readonly record?: (timed: TimedInstruction) => void;
}

/**
 * Runs a program, instruction by instruction. It knows nothing of what they do: handlers do the work, block
 * where an instruction waits, and throw when they cannot.
 *
 * @throws TrainyardError the handler's own, or STEP_FAILED around any other error, with rank, step and
 * instruction added to its place.
 */
export function executeProgram(program: Program, handlers: Handlers, options: ExecutionOptions): void {
  for (const [position, instruction] of program.instructions.entries()) {
    options.enter?.(instruction);
    const startMs = options.record === undefined ? 0 : performance.now();
    try {
      options.runScoped(() => handle(handlers, instruction));
    } catch (error) {
      throw located(error, program, options.step, position, instruction);
    }
    options.record?.({ position, startMs, endMs: performance.now() });
  }
}

function handle<Op extends Operation>(handlers: Handlers, instruction: Instruction<Op>): void {
  handlers[instruction.op](instruction);
}

function located(
  error: unknown,
  program: Program,
  step: number,
  position: number,
  instruction: Instruction,
): TrainyardError {
  const place = `rank ${program.rank}, step ${step}, instruction ${position}: ${instructionText(instruction)}`;
  if (error instanceof TrainyardError) {
    const where = error.report.where === undefined ? place : `${error.report.where} (${place})`;
    return new TrainyardError(error.code, { ...error.report, where }, { cause: error });
  }
  const what = error instanceof Error ? error.message : String(error);
  return new TrainyardError('STEP_FAILED', { what, where: place }, { cause: error });
}

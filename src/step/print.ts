import type { Collective } from './effects.js';
import { effectsOf } from './effects.js';
import type { Instruction } from './instruction.js';
import { instructionText, instructionWords } from './instruction.js';
import type { Program } from './program.js';

/** A program as text: one line that says whose it is, then one aligned line per instruction. */
export function printProgram(program: Program): string {
  const rows = program.instructions.map((instruction) => row(instruction, program));
  const widths = [0, 1, 2].map((column) => Math.max(0, ...rows.map((cells) => cells[column]?.length ?? 0)));
  const lines = rows.map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return `${[header(program), ...lines].join('\n')}\n`;
}

/** A program as plain data for `--json`, each instruction with its text. */
export function programToJson(program: Program): object {
  return {
    ...program,
    instructions: program.instructions.map((instruction) => ({
      ...instruction,
      text: instructionText(instruction),
    })),
  };
}

function header(program: Program): string {
  return [`rank ${program.rank} of ${program.worldSize}`, ...program.features].join(' · ');
}

function row(instruction: Instruction, program: Program): readonly string[] {
  const [subject = '', detail = ''] = instructionWords(instruction);
  const { collective } = effectsOf(instruction, program);
  const remark = collective === undefined ? '' : `(${collectiveText(collective)})`;
  return [instruction.op, subject, detail, remark];
}

function collectiveText({ kind, elements }: Collective): string {
  return `${kind}, ${elements.toLocaleString('en-US')} elements`;
}

import type { ProgramReport } from './checker.js';
import type { Collective } from './effects/effect-table.js';
import { effectsOf } from './effects.js';
import type { Instruction } from './instruction.js';
import { instructionText, instructionWords } from './instruction-text.js';
import type { Program } from './program.js';

/** A program as text: one line that says whose it is, then one aligned line per instruction. */
export function printProgram(program: Program): string {
  return `${header(program)}\n${alignedLines(program.instructions.map((instruction) => row(instruction, program)))}`;
}

/** What the check of a program found out, as a few lines to stand under it. */
export function printReport(program: Program, { peak, collectives, messages }: ProgramReport): string {
  const instruction = program.instructions[peak.position];
  const moment = instruction === undefined ? 'at the start' : `in ${instructionText(instruction)}`;
  const ledger = Object.entries(peak.ledger).map(([account, bytes]) => [
    '',
    account,
    count(bytes),
    bytes === 0 ? '' : besideThePeak(account, program),
  ]);
  const traffic = collectives.map(({ kind, group, count: calls, elements, sentBytes }) => [
    'sends',
    `${kind} (${group})`,
    count(sentBytes),
    `bytes in ${count(calls)} messages of ${count(elements)} elements together`,
  ]);
  const handed = messages.map(({ memory, peer, count: calls, sentBytes }) => [
    'sends',
    `${memory} to rank ${peer}`,
    count(sentBytes),
    `bytes in ${count(calls)} messages`,
  ]);
  const total = ['peak', 'memory', count(peak.bytes), `bytes ${moment}`];
  return alignedLines([total, ...ledger, ...traffic, ...handed]);
}

/** Of what is no part of the peak, why. */
function besideThePeak(account: string, { hostIsApart }: Program): string {
  if (account === 'nvme') return 'bytes in files, beside the peak';
  return account === 'host' && hostIsApart ? 'bytes at most, beside the peak' : '';
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
  const exchange = program.readsInPlace && program.worldSize > 1 ? ['shared memory'] : [];
  return [`rank ${program.rank} of ${program.worldSize}`, ...program.features, ...exchange].join(' · ');
}

function row(instruction: Instruction, program: Program): readonly string[] {
  const [subject = '', ...details] = instructionWords(instruction);
  return [instruction.op, subject, details.join(' '), ...remarksOn(instruction, program)];
}

/** What a block that runs again is called, for that is a choice which names decide; what ranks do together; what moves. */
function remarksOn(instruction: Instruction, program: Program): readonly string[] {
  const { collective, inside = [], message, copy } = effectsOf(instruction, program);
  const name = instruction.op === 'recompute' ? (program.blocks[instruction.block]?.name ?? '') : '';
  return [
    ...(name === '' ? [] : [`(${name})`]),
    ...(inside.length === 0 ? [] : [`(${insideText(inside)})`]),
    ...(collective === undefined ? [] : [`(${collectiveText(collective)})`]),
    ...(message === undefined ? [] : [`(${count(message.bytes)} bytes)`]),
    ...(copy === undefined ? [] : [`(to ${copy.to}, ${count(copy.bytes)} bytes)`]),
  ];
}

/** Numbers stand to the right of their column, words to the left. */
function alignedLines(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((cells) => cells.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return /^[\d,]+$/.test(cell) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd();
  return rows.map((cells) => `${line(cells)}\n`).join('');
}

function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function collectiveText({ kind, elements, algorithm, codec }: Collective): string {
  const ways = [algorithm, codec].flatMap((way) => way ?? []);
  return [kind, `${count(elements)} elements`, ...ways].join(', ');
}

/** "tensor: 4 × all-reduce, all-gather, 8,192 elements", and the same of other groups */
function insideText(collectives: readonly Collective[]): string {
  const groups = [...new Set(collectives.map(({ group }) => group))];
  return groups
    .map((group) => {
      const ofGroup = collectives.filter((each) => each.group === group);
      const kinds = [...new Set(ofGroup.map(({ kind }) => kind))];
      const elements = ofGroup.reduce((sum, each) => sum + each.elements, 0);
      return `${group}: ${ofGroup.length} × ${kinds.join(', ')}, ${count(elements)} elements`;
    })
    .join('; ');
}

import { TrainyardError } from '../../base/errors.js';
import type { CheckpointDifference, TensorDifference } from '../../engine/checkpoint-tools/diff.js';
import type { CheckpointSummary } from '../../engine/checkpoint-tools/inspect.js';
import { formatBytes } from '../format.js';
import type { JsonOption } from '../program/option-values.js';

export interface ExportCheckpointOptions {
  readonly output: string;
  readonly dtype: 'float32' | 'bfloat16' | 'float16';
}

export interface ImportCheckpointOptions {
  readonly output: string;
  readonly model?: string;
  readonly step?: number;
}

/** Lists checkpoints, the last committed first. */
export async function listCommand(path: string, { json }: JsonOption): Promise<void> {
  const { listCheckpoints } = await import('../../engine/checkpoint-tools/inspect.js');
  const found = listCheckpoints(path);
  process.stdout.write(json ? `${JSON.stringify(found)}\n` : found.map(summaryLine).join(''));
}

/**
 * Checks every byte of checkpoints.
 *
 * @throws TrainyardError CHECKPOINT_INVALID when one is damaged
 */
export async function verifyCommand(path: string, { json }: JsonOption): Promise<void> {
  const { verifyCheckpoints } = await import('../../engine/checkpoint-tools/inspect.js');
  const damaged: CheckpointSummary[] = [];
  for (const found of verifyCheckpoints(path)) {
    process.stdout.write(json ? `${JSON.stringify(found)}\n` : summaryLine(found));
    if (found.damage !== undefined) damaged.push(found);
  }
  const [first] = damaged;
  if (first === undefined) return;
  throw new TrainyardError('CHECKPOINT_INVALID', {
    what: damaged.length === 1 ? 'A checkpoint is damaged.' : `${damaged.length} checkpoints are damaged.`,
    where: first.folder,
    ...(first.damage !== undefined && { got: first.damage }),
    cure: 'Restore the folder from a copy, or remove it; a run goes on from the newest one that is whole.',
  });
}

export async function exportCommand(from: string, options: ExportCheckpointOptions): Promise<void> {
  const { exportCheckpoint } = await import('../../engine/checkpoint-tools/export.js');
  const { tag, tensors } = exportCheckpoint({ from, ...options });
  process.stderr.write(`${tensors} tensors of ${tag} written to ${options.output}\n`);
}

export async function importCommand(from: string, options: ImportCheckpointOptions): Promise<void> {
  const { importCheckpoint } = await import('../../engine/checkpoint-tools/import.js');
  const folder = importCheckpoint({ from, ...options });
  process.stderr.write(`written to ${folder}; train --resume goes on from it\n`);
}

/** Names the tensors in which two checkpoints differ; exit code 1 where there are any. */
export async function diffCommand(first: string, second: string, { json }: JsonOption): Promise<void> {
  const { diffCheckpoints } = await import('../../engine/checkpoint-tools/diff.js');
  const difference = diffCheckpoints(first, second);
  process.stdout.write(json ? `${JSON.stringify(difference)}\n` : differenceText(difference));
  if (difference.tensors.length > 0) process.exitCode = 1;
}

function summaryLine({ tag, step, parts, tensors, bytes, damage }: CheckpointSummary): string {
  const held =
    step === undefined || bytes === undefined
      ? ''
      : `step ${step}  ${formatBytes(bytes)}  ${tensors} tensors in ${parts} ${parts === 1 ? 'part' : 'parts'}  `;
  return `${tag.padEnd(16)}  ${held}${damage === undefined ? 'ok' : `damaged: ${damage}`}\n`;
}

function differenceText({ first, second, tensors }: CheckpointDifference): string {
  const named = [first, second].map(({ tag, step }) => `${tag} (step ${step})`).join(' and ');
  if (tensors.length === 0) return `${named}: the same tensors to the last bit\n`;
  return `${named}: ${tensors.length} tensors differ\n${tensors.map(differenceLine).join('')}`;
}

function differenceLine(difference: TensorDifference): string {
  const { name, kind } = difference;
  switch (kind) {
    case 'only in the first':
    case 'only in the second':
      return `  ${name}  ${kind}\n`;
    case 'shape':
    case 'dtype':
      return `  ${name}  ${kind} ${difference.first}, ${difference.second}\n`;
    case 'values': {
      const { different, elements, largest } = difference;
      const by = largest === undefined ? '' : `, by up to ${largest.toExponential(2)}`;
      return `  ${name}  ${different} of ${elements} values${by}\n`;
    }
    default:
      return kind satisfies never;
  }
}

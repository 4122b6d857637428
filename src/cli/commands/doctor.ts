import { type Finding, formatFindings } from '../doctor/finding.js';
import { checkLibtorch } from '../doctor/libtorch.js';
import {
  checkGraphicsProcessors,
  checkMemory,
  checkNode,
  checkProcessor,
  checkSharedMemory,
  checkVectors,
} from '../doctor/machine.js';
import { checkTools } from '../doctor/tools.js';
import type { JsonOption } from '../program/option-values.js';

/** Tells what this machine has and lacks, and what to do about it; exit code 2 when training cannot start. */
export async function doctor({ json }: JsonOption): Promise<void> {
  const findings: readonly Finding[] = [
    checkNode(),
    ...checkLibtorch(),
    checkProcessor(),
    checkVectors(),
    checkMemory(),
    checkSharedMemory(),
    checkGraphicsProcessors(),
    ...checkTools(),
  ];
  const canTrain = findings.every(({ status }) => status !== 'missing');
  const text =
    json === true ? JSON.stringify({ can_train: canTrain, findings }, null, 2) : formatFindings(findings);
  process.stdout.write(`${text}\n`);
  if (!canTrain) process.exitCode = 2;
}

import { printable } from '../../base/printable.js';
import type { NonFiniteFinding } from '../../engine/non-finite/diagnose.js';
import { type Replay, replayBundle } from '../../engine/replay.js';
import { formatValue } from '../format.js';
import type { JsonOption } from '../program/option-values.js';

export interface ReplayOptions extends JsonOption {
  readonly device?: 'cpu' | 'cuda';
}

/** Computes a recorded step again and says where it was first not finite; exit code 1 where all is finite. */
export function replay(bundle: string, { device, json }: ReplayOptions): void {
  const result = replayBundle({ bundle, ...(device && { device }) });
  const text = json === true ? JSON.stringify(result) : lines(result).join('\n');
  process.stdout.write(`${text}\n`);
  process.exitCode = result.found === undefined ? 1 : 0;
}

function lines({ step, loss, gradientNorm, found, recorded }: Replay): readonly string[] {
  return [
    `step           ${step}`,
    `loss           ${formatValue(loss)}`,
    `gradient norm  ${formatValue(gradientNorm)}`,
    `recorded       ${recorded === undefined ? 'nothing that one rank computed' : placeText(recorded)}`,
    `found          ${found === undefined ? 'everything is finite' : placeText(found)}`,
  ];
}

function placeText(finding: Pick<NonFiniteFinding, 'kind' | 'module' | 'tensor' | 'value'> & Place): string {
  const { kind, module, tensor, value, rank, instruction } = finding;
  const at = instruction === undefined ? '' : `, in ${instruction}`;
  return printable(`${value} in ${module}: ${kind} ${tensor}, rank ${rank ?? 0}${at}`);
}

interface Place {
  readonly rank?: number | undefined;
  readonly instruction?: string | undefined;
}

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  benchModel,
  COMPRESSION_BENCH_RANKS,
  compressionBenchConfig,
  gradientOverrides,
  otherCompressions,
} from '../bench/compression-run.js';
import type { JsonOption } from '../program/option-values.js';
import { createDisplay } from '../progress/create-display.js';
import { superviseTraining } from './supervise-training.js';

export interface BenchCompressionOptions extends JsonOption {
  readonly steps: number;
}

/** Steps at the end whose mean loss is compared. */
const LAST_STEPS = 10;

/** One line of the table; a number that is not finite is null in JSON. */
interface Row {
  readonly scheme: string;
  /** Of the sum of gradients; absent where it is something else that is compressed. */
  readonly relative_l2?: number;
  readonly relative_max?: number;
  /** Mean over the last steps. */
  readonly loss: number;
  readonly loss_difference: number;
}

/** Trains a small model once with each scheme, and prints what the scheme does to gradients and to the loss. */
export async function benchCompression({ steps, json }: BenchCompressionOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-bench-'));
  try {
    const config = join(folder, 'config.json');
    writeFileSync(config, JSON.stringify(compressionBenchConfig(steps)));
    // Its model is the one whose gradients are measured.
    const exact = await finalLoss(config, 'none', [`output=${benchModel(folder)}`]);
    const { measureCompression } = await import('../../engine/bench/compression.js');
    const errors = await measureCompression(config, gradientOverrides(folder));
    const rows: Row[] = [
      { scheme: 'none', relative_l2: 0, relative_max: 0, loss: exact, loss_difference: 0 },
    ];
    for (const { setting, ...error } of errors) {
      const loss = await finalLoss(config, setting);
      rows.push({ ...error, loss, loss_difference: loss - exact });
    }
    for (const [scheme, setting] of Object.entries(otherCompressions(steps))) {
      const loss = await finalLoss(config, 'none', [setting]);
      rows.push({ scheme, loss, loss_difference: loss - exact });
    }
    process.stdout.write(json === true ? `${JSON.stringify({ steps, rows })}\n` : table(rows));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function finalLoss(
  config: string,
  compression: string,
  settings: readonly string[] = [],
): Promise<number> {
  const losses: number[] = [];
  const { exitCode } = await superviseTraining({
    config,
    ranks: COMPRESSION_BENCH_RANKS,
    overrides: [`communication.compression=${compression}`, ...settings],
    display: createDisplay(false),
    onStep: ({ loss }) => losses.push(loss),
  });
  process.exitCode = exitCode;
  const last = losses.slice(-LAST_STEPS);
  return last.reduce((sum, loss) => sum + loss, 0) / last.length;
}

/** As Markdown, for docs/compression.md. */
function table(rows: readonly Row[]): string {
  const head = ['scheme', 'relative L2 error', 'relative largest error', 'loss', 'difference'];
  const cells = rows.map(({ scheme, relative_l2, relative_max, loss, loss_difference }) => [
    scheme,
    rounded(relative_l2),
    rounded(relative_max),
    Number.isFinite(loss) ? loss.toFixed(5) : 'not finite',
    rounded(loss_difference),
  ]);
  const lines = [head, head.map(() => '---'), ...cells].map((line) => `| ${line.join(' | ')} |\n`);
  return lines.join('');
}

function rounded(value: number | undefined): string {
  if (value === undefined) return '';
  if (value === 0) return '0';
  return Number.isFinite(value) ? value.toExponential(1) : 'not finite';
}

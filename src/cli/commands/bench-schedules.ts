import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ScheduleTimes } from '../../engine/bench/schedules.js';
import { type BenchPreset, benchFiles } from '../bench/preset.js';
import { formatBytes } from '../format.js';
import { createDisplay } from '../progress/create-display.js';
import { superviseTraining } from './supervise-training.js';

export interface BenchSchedulesOptions {
  readonly ranks: number;
  readonly microBatches: number;
  readonly rounds: number;
  readonly json?: boolean;
}

const SCHEDULES = ['gpipe', '1f1b', 'interleaved', 'zero-bubble'] as const;

/**
 * Stages are alike that have as many of its layers: next to these, its embedding and its head cost nothing. Then the
 * formulas of schedules hold.
 */
const EVEN: BenchPreset = {
  hiddenSize: 256,
  layers: 8,
  heads: 4,
  sequenceLength: 128,
  batchSize: 16,
  vocabularySize: 256,
};

/** The last of so many steps is drawn: by then everything has been used once. */
const STEPS = 3;

/** One schedule: the median of its rounds. */
interface Row extends ScheduleTimes {
  readonly schedule: string;
  /** (p − 1)/(m v). */
  readonly formula: number;
}

/** Trains a small model with every schedule on equal stages of one rank each, in turns, and sets each beside its simulation. */
export async function benchSchedules({
  ranks,
  microBatches,
  rounds,
  json,
}: BenchSchedulesOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-bench-'));
  try {
    for (const [path, text] of benchFiles(EVEN, 1, STEPS, folder)) writeFileSync(path, text);
    const measured = SCHEDULES.map((): ScheduleTimes[] => []);
    for (let round = 0; round < rounds; round += 1) {
      for (const [index, schedule] of SCHEDULES.entries()) {
        measured[index]?.push(await measure(folder, schedule, ranks, microBatches));
      }
    }
    const rows = SCHEDULES.map((schedule, index): Row => {
      const chunks = chunksOf(schedule);
      const byRatio = [...(measured[index] ?? [])].sort((left, right) => ratioOf(left) - ratioOf(right));
      const middle = byRatio[Math.floor(byRatio.length / 2)];
      if (middle === undefined) throw new Error('no round was run');
      return { schedule, formula: (ranks - 1) / (microBatches * chunks), ...middle };
    });
    process.stdout.write(json === true ? `${JSON.stringify({ ranks, microBatches, rows })}\n` : table(rows));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(
  folder: string,
  schedule: string,
  ranks: number,
  microBatches: number,
): Promise<ScheduleTimes> {
  const config = join(folder, 'config.json');
  const timeline = join(folder, `${schedule}.json`);
  const rows = EVEN.batchSize / microBatches;
  const chunks = chunksOf(schedule);
  const overrides = [
    `mesh.pipeline=${ranks}`,
    `pipeline=${JSON.stringify({ schedule, chunks, partition: evenParts(ranks * chunks) })}`,
    `train_micro_batch_size_per_gpu=${rows}`,
    `gradient_accumulation_steps=${microBatches}`,
  ];
  const display = createDisplay(false);
  const { exitCode } = await superviseTraining({ config, ranks, overrides, timeline, display });
  process.exitCode = exitCode;
  const { compareSchedule } = await import('../../engine/bench/schedules.js');
  return compareSchedule({ configPath: config, overrides, worldSize: ranks }, timeline);
}

function chunksOf(schedule: string): number {
  return schedule === 'interleaved' ? 2 : 1;
}

/** Blocks of each part: as many layers in all, the embedding in the first and the head in the last. */
function evenParts(parts: number): readonly number[] {
  return Array.from(
    { length: parts },
    (_, part) => EVEN.layers / parts + Number(part === 0) + Number(part === parts - 1),
  );
}

function ratioOf({ simulatedMs, measuredMs }: ScheduleTimes): number {
  return simulatedMs / measuredMs;
}

/** As Markdown, for docs/parallelism.md. */
function table(rows: readonly Row[]): string {
  const head = [
    'schedule',
    'ms a step',
    'simulated',
    'ratio',
    'bubble',
    'simulated',
    '(p − 1)/(m v)',
    'peak of a stage',
  ];
  const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
  const cells = rows.map((row) => [
    `\`${row.schedule}\``,
    row.measuredMs.toFixed(0),
    row.simulatedMs.toFixed(0),
    ratioOf(row).toFixed(2),
    percent(row.measuredBubble),
    percent(row.simulatedBubble),
    percent(row.formula),
    formatBytes(row.peakBytes),
  ]);
  return [head, head.map(() => '---'), ...cells].map((line) => `| ${line.join(' | ')} |\n`).join('');
}

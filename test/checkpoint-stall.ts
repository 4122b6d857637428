import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BENCH_PRESETS, type BenchPresetName, benchFiles } from '../src/cli/bench/preset.js';
import type { CheckpointEvent, StepEvent } from '../src/launch/events.js';
import { run } from './command-line.js';

// How long checkpoints make training stand still: `node dist/test/checkpoint-stall.js`. On a machine that does nothing
// else: the stall of every save as a share of the steps between two, and what steps take with saves and without.
//
//   --preset S|M|L  which decoder (default S, 5.3 M parameters)
//   --ranks N       (default 2)
//   --interval N    steps between saves (default 20)
//   --saves N       (default 4)

const { values } = parseArgs({
  options: {
    preset: { type: 'string', default: 'S' },
    ranks: { type: 'string', default: '2' },
    interval: { type: 'string', default: '20' },
    saves: { type: 'string', default: '4' },
  },
});
const preset = BENCH_PRESETS[values.preset as BenchPresetName];
const interval = Number(values.interval);
const steps = interval * (Number(values.saves) + 1);
const folder = mkdtempSync(join(tmpdir(), 'trainyard-stall-'));
for (const [path, text] of benchFiles(preset, Number(values.ranks), steps, folder)) writeFileSync(path, text);

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((left, right) => left - right)[Math.floor(numbers.length / 2)] ?? Number.NaN;

for (const writer of ['none', 'direct', 'decoupled'] as const) {
  const checkpoint = { interval, keep: 2, writer: { decoupled: writer === 'decoupled' } };
  const { exitCode, stdout, stderr } = await run([
    ...['train', join(folder, 'config.json'), '--ranks', values.ranks, '--json', '--set', `steps=${steps}`],
    ...(writer === 'none'
      ? []
      : ['--set', `output=${join(folder, writer)}`, '--set', `checkpoint=${JSON.stringify(checkpoint)}`]),
  ]);
  if (exitCode !== 0) throw new Error(stderr);
  const events = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly event: string });
  const times = events
    .filter((each): each is StepEvent => each.event === 'step')
    .map(({ step_ms }) => step_ms);
  const saved = events.filter((each): each is CheckpointEvent => each.event === 'checkpoint').slice(0, -1);
  const step = median(times.slice(3));
  const mean = times.slice(3).reduce((sum, each) => sum + each, 0) / (times.length - 3);
  const stall = median(saved.map(({ stall_ms }) => stall_ms));
  const total = median(saved.map(({ total_ms }) => total_ms));
  const share = (100 * stall) / (interval * step);
  const saves =
    saved.length === 0
      ? ''
      : `; ${saved.length} saves of ${Math.round((saved[0]?.bytes ?? 0) / 1e6)} MB: stall ${stall.toFixed(1)} ms of ${total.toFixed(0)} ms, ${share.toFixed(2)} % of ${interval} steps`;
  process.stdout.write(
    `${writer.padEnd(9)} step ${step.toFixed(1)} ms (mean ${mean.toFixed(1)} ms)${saves}\n`,
  );
}
rmSync(folder, { recursive: true });

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env } from '../../base/env.js';
import { TrainyardError } from '../../base/errors.js';
import type { EndEvent, StepEvent } from '../../launch/events.js';
import { threadBudget } from '../../launch/threads.js';
import { BENCH_PRESETS, benchFiles } from '../bench/preset.js';
import { formatBytes, formatCount } from '../format.js';
import type { BenchStepOptions } from '../program.js';
import { createDisplay } from '../progress/create-display.js';
import { superviseTraining } from './supervise-training.js';

const WARM_UP_STEPS = 3;

/** Trains one of the benchmark's decoders the way `train` does it, and prints the median step. */
export async function benchStep(options: BenchStepOptions): Promise<void> {
  const preset = BENCH_PRESETS[options.preset];
  const ranks = options.ranks ?? 1;
  if (preset.batchSize % ranks !== 0) {
    throw new TrainyardError('USAGE', {
      what: `The batch of preset ${options.preset} cannot be shared by ${ranks} ranks.`,
      expected: `--ranks that divides ${preset.batchSize}`,
    });
  }
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-bench-'));
  const returnTo = process.cwd();
  try {
    for (const [path, text] of benchFiles(preset, ranks, WARM_UP_STEPS + options.steps, folder)) {
      writeFileSync(path, text);
    }
    // What the run leaves beside itself, its token cache, goes with the folder.
    process.chdir(folder);
    await measure(join(folder, 'config.json'), ranks, options);
  } finally {
    process.chdir(returnTo);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(config: string, ranks: number, options: BenchStepOptions): Promise<void> {
  const steps: StepEvent[] = [];
  const { exitCode, end } = await superviseTraining({
    config,
    ranks,
    overrides: options.set ?? [],
    display: createDisplay(false),
    onStep: (step) => steps.push(step),
  });
  process.exitCode = exitCode;
  if (end === undefined || steps.length <= WARM_UP_STEPS) return;
  const result = summarize(steps, end, ranks, options);
  const text =
    options.json === true
      ? JSON.stringify(result)
      : `${formatCount(result.tokens_s)} tokens/s, ${result.step_ms} ms a step (best ${result.best_ms} ms), ` +
        `peak memory ${formatBytes(result.peak_memory_bytes)}`;
  process.stdout.write(`${text}\n`);
}

/** Under the names that the Python programs print. */
function summarize(steps: readonly StepEvent[], end: EndEvent, ranks: number, { preset }: BenchStepOptions) {
  const { batchSize, sequenceLength, hiddenSize, layers, heads } = BENCH_PRESETS[preset];
  const times = steps
    .slice(WARM_UP_STEPS)
    .map((step) => step.step_ms)
    .sort((left, right) => left - right);
  const middle = times.length / 2;
  const median = ((times[Math.ceil(middle) - 1] ?? 0) + (times[Math.floor(middle)] ?? 0)) / 2;
  return {
    peer: 'trainyard',
    world: ranks,
    threads: threadBudget(ranks, env.variables).threadsPerRank,
    preset,
    dim: hiddenSize,
    layers,
    heads,
    seq: sequenceLength,
    batch: batchSize,
    step_ms: tenths(median),
    best_ms: tenths(times[0] ?? 0),
    tokens_s: tenths((batchSize * sequenceLength * 1000) / median),
    peak_memory_bytes: Math.max(...end.peak_memory_bytes),
    loss_first: steps[0]?.loss,
    loss_last: steps.at(-1)?.loss,
  };
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env } from '../../base/env.js';
import { invariant, TrainyardError } from '../../base/errors.js';
import type { EndEvent, StepEvent } from '../../launch/events.js';
import { threadBudget } from '../../launch/threads.js';
import { type BenchComparison, median, runPeer } from '../bench/peer.js';
import type { BenchPresetName } from '../bench/preset.js';
import { BENCH_PRESETS, benchFiles } from '../bench/preset.js';
import { formatBytes, formatCount } from '../format.js';
import type { ConfigOptions } from '../program/option-values.js';
import { createDisplay } from '../progress/create-display.js';
import { superviseTraining } from './supervise-training.js';

export interface BenchStepOptions extends ConfigOptions, BenchComparison {
  readonly preset: BenchPresetName;
  readonly ranks?: number;
  readonly steps: number;
}

const WARM_UP_STEPS = 3;

/**
 * Trains one of the benchmark's decoders the way `train` does it, and prints the median step; beside a peer, in
 * turns with it, and with the median ratio of tokens per second: above 1 we are faster.
 */
export async function benchStep(peer: readonly string[], options: BenchStepOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-bench-'));
  try {
    const config = writeRun(folder, options);
    const own: StepResult[] = [];
    const ratios: number[] = [];
    for (let round = 0; round < (peer.length === 0 ? 1 : options.rounds); round += 1) {
      const result = await measure(config, options);
      if (result === undefined) return;
      own.push(result);
      if (peer.length > 0) ratios.push(result.tokens_s / Number((await runPeer(peer)).tokens_s));
    }
    print(own, ratios, options);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The configuration and tokens of the run; returns the configuration's path. */
function writeRun(folder: string, { preset: name, ranks = 1, steps }: BenchStepOptions): string {
  const preset = BENCH_PRESETS[name];
  if (preset.batchSize % ranks !== 0) {
    throw new TrainyardError('USAGE', {
      what: `The batch of preset ${name} cannot be shared by ${ranks} ranks.`,
      expected: `--ranks that divides ${preset.batchSize}`,
    });
  }
  for (const [path, text] of benchFiles(preset, ranks, WARM_UP_STEPS + steps, folder))
    writeFileSync(path, text);
  return join(folder, 'config.json');
}

type StepResult = ReturnType<typeof summarize>;

/** One run; undefined when it failed, which has been said then. */
async function measure(config: string, options: BenchStepOptions): Promise<StepResult | undefined> {
  const steps: StepEvent[] = [];
  const { exitCode, end } = await superviseTraining({
    config,
    ranks: options.ranks ?? 1,
    overrides: options.set ?? [],
    display: createDisplay(false),
    onStep: (step) => steps.push(step),
  });
  process.exitCode = exitCode;
  return end === undefined || steps.length <= WARM_UP_STEPS ? undefined : summarize(steps, end, options);
}

/** Under the names that the Python programs print. */
function summarize(steps: readonly StepEvent[], end: EndEvent, { preset, ranks = 1 }: BenchStepOptions) {
  const { batchSize, sequenceLength, hiddenSize, layers, heads } = BENCH_PRESETS[preset];
  const measured = steps.slice(WARM_UP_STEPS);
  const times = measured.map((step) => step.step_ms);
  const middle = median(times);
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
    step_ms: tenths(middle),
    best_ms: tenths(Math.min(...times)),
    exposed_communication_ms: tenths(median(measured.map((step) => step.exposed_communication_ms ?? 0))),
    tokens_s: tenths((batchSize * sequenceLength * 1000) / middle),
    peak_memory_bytes: Math.max(...end.peak_memory_bytes),
    loss_first: steps[0]?.loss,
    loss_last: steps.at(-1)?.loss,
  };
}

function print(own: readonly StepResult[], ratios: readonly number[], { json }: BenchStepOptions): void {
  const order = [...own].sort((left, right) => left.tokens_s - right.tokens_s);
  const middle = order[order.length >> 1];
  invariant(middle, 'a benchmark has at least one round');
  const ratio = ratios.length === 0 ? {} : { ratio: Number(median(ratios).toFixed(3)), ratios };
  const text =
    json === true
      ? JSON.stringify({ ...middle, ...ratio })
      : `${formatCount(middle.tokens_s)} tokens/s, ${middle.step_ms} ms a step (best ${middle.best_ms} ms), ` +
        `${describeCommunication(middle)}peak memory ${formatBytes(middle.peak_memory_bytes)}${describeRatios(ratios)}`;
  process.stdout.write(`${text}\n`);
}

function describeCommunication({ world, step_ms, exposed_communication_ms: exposed }: StepResult): string {
  return world === 1
    ? ''
    : `${exposed} ms of it in communication that hides behind nothing (${((100 * exposed) / step_ms).toFixed(0)} %), `;
}

function describeRatios(ratios: readonly number[]): string {
  if (ratios.length === 0) return '';
  const each = ratios.map((ratio) => ratio.toFixed(2)).join(', ');
  return `\n${median(ratios).toFixed(2)} times the peer's tokens/s (median of ${each})`;
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}

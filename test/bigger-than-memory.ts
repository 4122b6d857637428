import { mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { resolveConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { joinWorld } from '../src/engine/world.js';
import { singleRank } from '../src/launch/environment.js';
import { aioSchema, measureFile, openDirectFolder } from '../src/store/index.js';
import { enforceMemory } from './enforce-memory.js';

/**
 * Trains a Llama whose training state is larger than the memory that it may take: fp32 weights, gradients and Adam's
 * moments are in files (16 bytes a parameter). `node dist/test/bigger-than-memory.js [FOLDER]` prints for each step the loss,
 * the time, how long that of the disk alone would be and how long this thread computed, and at the end the memory it took.
 * The system enforces the limit, as far as it lets itself be asked.
 *
 *   FOLDER        on the disk to be used; left out, `build/offload`
 *   --size small  152 million parameters in place of 1.1 billion
 *   --steps 4     on one batch that is repeated
 *   --limit GIB   the most resident memory; 6, or 1 for the small one
 *   --json        one object with everything
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: 'string', default: 'large' },
    steps: { type: 'string', default: '4' },
    limit: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

const SIZES = {
  large: {
    model: { vocab_size: 32_000, hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 22 },
    heads: { num_attention_heads: 32, num_key_value_heads: 4 },
    length: 128,
    limit: 6,
    tile: 2 ** 22,
    probeBytes: 2 ** 31,
  },
  small: {
    model: { vocab_size: 8192, hidden_size: 1024, intermediate_size: 2816, num_hidden_layers: 12 },
    heads: { num_attention_heads: 16, num_key_value_heads: 4 },
    length: 64,
    limit: 1,
    tile: 2 ** 20,
    probeBytes: 2 ** 30,
  },
} as const;

const { size } = values;
if (size !== 'large' && size !== 'small') throw new Error('--size takes large or small');
const { model, heads, length, limit, tile, probeBytes } = SIZES[size];
const limitBytes = Number(values.limit ?? limit) * 2 ** 30;
const KIBIBYTE = 1024;
/** The most so far. */
const residentBytes = (): number => process.resourceUsage().maxRSS * KIBIBYTE;

const folder = resolve(positionals[0] ?? join('build', 'offload'));
mkdirSync(folder, { recursive: true });
const disk = openProbe(folder);
const first = disk.measure();
// From here on, with the code of libtorch in memory.
const bound = enforceMemory(limitBytes);

const files = { device: 'nvme', nvme_path: folder } as const;
const written = {
  model: { architecture: 'llama', max_position_embeddings: length, ...model, ...heads },
  train_batch_size: 1,
  optimizer: { type: 'AdamW', params: { lr: 1e-4 } },
  zero_optimization: { stage: 3, offload_optimizer: files, offload_param: files, sub_group_size: tile },
  memory_limit: limitBytes,
} as const;
const config = resolveConfig(written, { requires: ['model'] });
const engine = buildEngine({
  config,
  source: openModel(config),
  world: joinWorld(config, singleRank()),
  sequenceLength: length,
});
const inputIds = [Array.from({ length }, (_, i) => (i * 7919 + 13) % model.vocab_size)];
const stateBytes = 16 * engine.parameterCount;
const say = (text: string): void => void (values.json || process.stdout.write(`${text}\n`));
say(
  `${engine.parameterCount} parameters, ${gigabytes(stateBytes)} of state; disk ${gigabytes(first.read)}/s ` +
    `read, ${gigabytes(first.written)}/s written; ${gigabytes(residentBytes())} resident so far`,
);

say(`limit of ${gigabytes(limitBytes)} enforced by ${bound.by}: ${bound.explanation}`);

const steps = Array.from({ length: Number(values.steps) }, () => {
  let loss = Number.NaN;
  const measured = measure(() => {
    ({ loss } = engine.trainBatch({ inputIds }));
  });
  say(`loss ${loss.toFixed(4)}  ${timesOf(measured)}  ${gigabytes(residentBytes())} resident at most`);
  return { loss, ...measured };
});
// Each step has left its update to the next; whoever looks at the weights sees those after the last one.
const left = measure(() => engine.gathered(['model.norm.weight'], () => {}));
say(`the update that was left  ${timesOf(left)}`);
engine.close();
disk.close();

// The first step has no update to make.
const ratios = steps
  .slice(1)
  .map(({ ratio }) => ratio)
  .sort((left, right) => left - right);
const ratio = ratios[Math.floor(ratios.length / 2)];
say(`${ratio?.toFixed(2)} × the larger in the middle of steps with an update`);

const losses = steps.map(({ loss }) => loss);
const falls = losses.every(
  (loss, index) => Number.isFinite(loss) && loss < (losses[index - 1] ?? Number.POSITIVE_INFINITY),
);
const peakBytes = residentBytes();
const isInside = peakBytes <= limitBytes && 2 * limitBytes < stateBytes;
if (values.json)
  process.stdout.write(
    `${JSON.stringify({ stateBytes, limitBytes, peakBytes, bound, falls, steps, left, ratio, disk: disk.way })}\n`,
  );
say(falls && isInside ? 'all as it should be' : `FAULT falls ${falls}, inside its limit ${isInside}`);
if (positionals[0] === undefined) rmSync(folder, { recursive: true });
process.exitCode = falls && isInside ? 0 : 1;

/** Measures the disk, in bytes a second: again and again, since others may use it too. */
function openProbe(path: string) {
  const aio = aioSchema.parse(undefined);
  const opened = openDirectFolder(path, { setting: 'FOLDER', mark: 'measure', aio });
  const file = opened.create('what is measured', probeBytes);
  // The first pass gives the file its places on the disk.
  measureFile(file);
  return {
    way: opened.describe(),
    measure: () => {
      const { read, write } = measureFile(file);
      return { read: file.bytes / read, written: file.bytes / write };
    },
    close: () => {
      file.close();
      opened.close();
    },
  };
}

function trafficOf() {
  const { tierTraffic } = engine;
  if (tierTraffic === undefined) throw new Error('nothing is in files');
  return tierTraffic;
}

/** How long it takes, how long of that this thread computes, and how long the disk alone, measured before it and after it. */
function measure(body: () => void) {
  const rates = [disk.measure()];
  const before = { ...trafficOf() };
  const startMs = performance.now();
  body();
  const milliseconds = performance.now() - startMs;
  const after = trafficOf();
  rates.push(disk.measure());
  const [read, written] = [after.readBytes - before.readBytes, after.writtenBytes - before.writtenBytes];
  const seconds = rates.map((rate) => read / rate.read + written / rate.written);
  const diskMs = (1000 * seconds.reduce((sum, each) => sum + each, 0)) / seconds.length;
  const computeMs = milliseconds - (after.waitedMs - before.waitedMs);
  return {
    milliseconds,
    computeMs,
    diskMs,
    read,
    written,
    ratio: milliseconds / Math.max(diskMs, computeMs),
  };
}

function timesOf({
  milliseconds,
  computeMs,
  diskMs,
  read,
  written,
  ratio,
}: ReturnType<typeof measure>): string {
  return (
    `${(milliseconds / 1000).toFixed(1)} s  compute ${(computeMs / 1000).toFixed(1)} s  ` +
    `disk ${(diskMs / 1000).toFixed(1)} s for ${gigabytes(read)} read and ${gigabytes(written)} written  ` +
    `${ratio.toFixed(2)}× the larger`
  );
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

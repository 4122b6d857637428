import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import { ODD_MODEL } from './odd-model.js';
import type { OffloadResult, OffloadTask } from './offload-program.js';
import { runRanks } from './run-ranks.js';

const STEPS = 4;

/** Two ranks can divide its matrices. */
const EVEN_MODEL = { ...ODD_MODEL, intermediate_size: 48, num_key_value_heads: 2 } as const;

type Zero = NonNullable<UserConfig['zero_optimization']>;

let root = '';
let disk = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-offload-'));
  disk = join(root, 'nvme');
  mkdirSync(disk);
});
after(() => rmSync(root, { recursive: true }));

const PRECISIONS = {
  fp32: {},
  bf16: { bf16: { enabled: true } },
  // Overflows in its first steps, which are left out.
  fp16: { fp16: { enabled: true, initial_scale_power: 20, hysteresis: 1 } },
} as const satisfies Record<string, UserConfig>;

function configOf(zero: Zero, beside: UserConfig): UserConfig {
  return {
    model: ODD_MODEL,
    train_batch_size: 8,
    gradient_clipping: 0.5,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    ...beside,
    zero_optimization: {
      ...zero,
      ...(zero.stage === 3 && { stage3_param_persistence_threshold: 0 }),
    },
  };
}

/** The ways of a stage to have training state in files. */
function variantsOf(stage: 1 | 2 | 3, precision: keyof typeof PRECISIONS): readonly Zero[] {
  const states = { offload_optimizer: { device: 'nvme', nvme_path: disk } } as const;
  const weights = { offload_param: { device: 'nvme', nvme_path: disk } } as const;
  const tiles = { sub_group_size: 2048 } as const;
  // One of two layers and the embedding stay in memory.
  const half = { offload_optimizer: { ...states.offload_optimizer, ratio: 0.5 } } as const;
  return [
    { stage, ...states, ...tiles },
    { stage, ...half, ...(stage === 3 && weights), ...tiles },
    ...(stage === 3 ? [{ stage, ...states, ...weights, ...tiles } as const] : []),
    ...(stage === 3 && precision === 'fp32' ? [{ stage, ...weights }] : []),
  ];
}

async function runTasks(ranks: number, tasks: readonly OffloadTask[]): Promise<readonly OffloadResult[]> {
  const results = await runRanks<readonly OffloadResult[]>('offload-program.js', ranks, [
    JSON.stringify(tasks),
  ]);
  const [first] = results;
  assert.ok(first);
  for (const other of results) assert.deepEqual(other, first);
  return first;
}

describe('the same losses and the same weights to the last bit as without other tiers', {
  concurrency: 1,
}, () => {
  for (const ranks of [1, 2]) {
    for (const stage of [1, 2, 3] as const) {
      test(`stage ${stage} on ${ranks}`, async () => {
        const cases = (['fp32', 'bf16', 'fp16'] as const).flatMap((precision, index) => {
          const beside = { ...PRECISIONS[precision], gradient_accumulation_steps: 1 + (index % 2) };
          const zeros: readonly Zero[] = [{ stage }, ...variantsOf(stage, precision)];
          return zeros.map((zero) => ({ precision, task: { config: configOf(zero, beside), steps: STEPS } }));
        });
        const results = await runTasks(
          ranks,
          cases.map(({ task }) => task),
        );
        for (const precision of ['fp32', 'bf16', 'fp16'] as const) {
          const ofPrecision = results.filter((_, index) => cases[index]?.precision === precision);
          const [without, ...others] = ofPrecision;
          assert.ok(without && others.length > 0);
          for (const other of others) assert.deepEqual(other, without, precision);
          assert.equal(without.skipped > 0, precision === 'fp16');
          assert.ok(without.skipped < STEPS, 'some steps are updates');
        }
      });
    }
  }
});

test('resident blocks, one buffer, no pipelines, every optimizer, tied weights: the same bits', async () => {
  const states = { device: 'nvme', nvme_path: disk } as const;
  const weights = { device: 'nvme', nvme_path: disk } as const;
  const both = { stage: 3, offload_optimizer: states, offload_param: weights, sub_group_size: 2048 } as const;
  const slow = { ...states, buffer_count: 1, pipeline_read: false, pipeline_write: false } as const;
  const pairs: readonly (readonly [Zero, Zero, UserConfig])[] = [
    [{ stage: 3 }, { ...both, offload_param: { ...weights, max_in_cpu: 3000, buffer_count: 3 } }, {}],
    [{ stage: 3 }, { ...both, offload_optimizer: slow }, {}],
    [{ stage: 3 }, both, { optimizer: { type: 'Lion', params: { lr: 0.001 } } }],
    [{ stage: 3 }, both, { optimizer: { type: 'SGD', params: { lr: 0.1, momentum: 0.9 } } }],
    [{ stage: 3 }, both, { optimizer: { type: 'SGD', params: { lr: 0.1 } } }],
    [{ stage: 3 }, both, { model: { ...ODD_MODEL, tie_word_embeddings: true } }],
    [{ stage: 3 }, both, { recompute: { policy: 'always' } }],
    // Sums of several micro-batches, in fp32, which round where 16 bits do not.
    [{ stage: 3 }, both, { gradient_accumulation_steps: 2 }],
    [{ stage: 2 }, { stage: 2, offload_optimizer: states }, { gradient_accumulation_steps: 4 }],
  ];
  const tasks = pairs.flatMap(([without, zero, beside]) =>
    [without, zero].map((each) => ({ config: configOf(each, beside), steps: STEPS })),
  );
  const results = await runTasks(1, tasks);
  for (const [index, [, zero, beside]] of pairs.entries()) {
    assert.deepEqual(results[2 * index + 1], results[2 * index], JSON.stringify({ zero, beside }));
  }
});

/** Both with everything in files and with nothing: the same bits. */
async function expectSame(ranks: number, cases: readonly (readonly [Zero, UserConfig])[]): Promise<void> {
  const files = { device: 'nvme', nvme_path: disk } as const;
  const tasks = cases.flatMap(([zero, beside]) => {
    const weights = zero.stage === 3 ? { offload_param: files } : {};
    const moved = { ...zero, offload_optimizer: files, ...weights, sub_group_size: 2048 } as const;
    return [zero, moved].map((each) => ({ config: configOf(each, beside), steps: STEPS }));
  });
  const results = await runTasks(ranks, tasks);
  for (const [index, given] of cases.entries()) {
    assert.deepEqual(results[2 * index + 1], results[2 * index], JSON.stringify(given));
  }
}

const accumulated = { train_batch_size: 4, gradient_accumulation_steps: 2 } as const;

test('ranks that share sequences: the same bits', async () => {
  const shared = { ...accumulated, sequence_parallel_size: 2 };
  await expectSame(2, [
    [{ stage: 2 }, shared],
    [{ stage: 3 }, { ...shared, ...PRECISIONS.bf16 }],
  ]);
});

test('matrices that two ranks divide: the same bits', async () => {
  const mesh = { tensor: 2 } as const;
  await expectSame(2, [
    [{ stage: 2 }, { mesh, model: EVEN_MODEL, gradient_accumulation_steps: 2 }],
    [{ stage: 3 }, { mesh, model: EVEN_MODEL, ...PRECISIONS.bf16 }],
  ]);
});

test('stages of a pipeline: the same bits', async () => {
  const staged = { mesh: { pipeline: 2 }, gradient_accumulation_steps: 2 } as const;
  await expectSame(2, [
    [{ stage: 2 }, staged],
    [{ stage: 3 }, { ...staged, ...PRECISIONS.bf16 }],
  ]);
});

test('compressed messages and adapters: the same bits', async () => {
  const adapter = { type: 'lora', targets: ['q_proj', 'down_proj'], rank: 3 } as const;
  await expectSame(2, [
    [{ stage: 2 }, { ...accumulated, communication: { compression: 'one-bit' } }],
    [{ stage: 3 }, { communication: { compression: 'fp16-dynamic' } }],
    [{ stage: 3, zero_quantized_weights: true }, {}],
    [{ stage: 1 }, { adapter }],
    [{ stage: 3 }, { ...accumulated, ...PRECISIONS.bf16, adapter }],
  ]);
});

test('checkpoints go from any tier to any other, and over meshes', async () => {
  const files = { device: 'nvme', nvme_path: disk } as const;
  const everything: Zero = { stage: 3, offload_optimizer: files, offload_param: files, sub_group_size: 2048 };
  const layouts: readonly UserConfig[] = [
    PRECISIONS.bf16,
    { mesh: { tensor: 2 }, model: EVEN_MODEL },
    { mesh: { pipeline: 2 }, gradient_accumulation_steps: 2 },
  ];
  for (const [index, beside] of layouts.entries()) {
    const half = { config: configOf({ stage: 3 }, beside), steps: STEPS / 2 };
    const whole = { ...half, steps: STEPS };
    const moved = configOf(everything, beside);
    const [one, other] = [join(root, `from-memory-${index}`), join(root, `from-files-${index}`)];
    const [expected, , , intoFiles, intoMemory] = await runTasks(2, [
      whole,
      { ...half, save: one },
      { ...half, config: moved, save: other },
      { ...whole, config: moved, load: one },
      { ...whole, load: other },
    ]);
    assert.equal(intoFiles?.weights, expected?.weights);
    assert.equal(intoMemory?.weights, expected?.weights);
  }
});

test('nothing is left in the folder', () => {
  assert.deepEqual(readdirSync(disk), []);
});

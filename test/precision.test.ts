import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { StepEvent } from '../src/launch/events.js';
import { run } from './command-line.js';
import { type Expected, readJson } from './models-harness.js';
import { near } from './near.js';
import type { Settings } from './precision-harness.js';
import { trainRanks } from './train-ranks.js';

const FIXTURES = join(import.meta.dirname, '../../test/fixtures');
const EMPTY = join(FIXTURES, 'empty-config.json');

/** How far losses and gradient norms of 16-bit runs may be from PyTorch's fp32 ones, relatively. */
const TOLERANCES = { bf16: { loss: 5e-3, norm: 5e-2 }, fp16: { loss: 1e-3, norm: 1e-2 } } as const;

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-precision-'));
});
after(() => rmSync(root, { recursive: true }));

async function command(words: readonly string[], settings: Settings) {
  const flags = Object.entries(settings).flatMap(([key, value]) => [
    '--set',
    `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  ]);
  return run([...words, ...flags]);
}

async function trainSteps(ranks: number, settings: Settings): Promise<readonly StepEvent[]> {
  return (await trainRanks(ranks, settings)).steps;
}

/** The settings under which PyTorch made a fixture's losses. */
function fixture(name: string): { readonly settings: Settings; readonly expected: Expected['train'] } {
  const folder = join(FIXTURES, 'models', name);
  const { batch_size, train: expected } = readJson<Expected>(folder, 'expected.json');
  const { lr, betas, eps, weight_decay } = expected;
  const settings = {
    model: folder,
    'data.path': join(folder, 'batches.jsonl'),
    steps: expected.losses.length,
    train_batch_size: batch_size,
    gradient_clipping: expected.clip,
    optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
    communication: { deterministic: true },
    communication_data_type: 'fp32',
  };
  return { settings, expected };
}

/** Ranks and ZeRO stages. */
const RUNS = {
  bf16: {
    'llama-gqa-tied': [
      [1, 0],
      [2, 0],
      [2, 1],
      [2, 2],
      [2, 3],
    ],
    'gpt2-relu': [[1, 0]],
    qwen3: [[2, 3]],
  },
  fp16: {
    'llama-gqa-tied': [
      [1, 0],
      [2, 3],
    ],
    'gpt2-relu': [[2, 1]],
    qwen3: [[1, 0]],
  },
} as const;

describe('16 bits train like PyTorch’s fp32, and every stage to the same bits', { concurrency: 1 }, () => {
  for (const precision of ['bf16', 'fp16'] as const) {
    for (const name of ['llama-gqa-tied', 'gpt2-relu', 'qwen3'] as const) {
      test(`${precision}, ${name}`, async () => {
        const { settings, expected } = fixture(name);
        const tolerance = TOLERANCES[precision];
        // The norm tells of every bit of the gradients; the mean loss is summed in another order at stage 0.
        let normsOfTwo: readonly number[] | undefined;
        for (const [ranks, stage] of RUNS[precision][name]) {
          const steps = await trainSteps(ranks, {
            ...settings,
            [`${precision}.enabled`]: true,
            zero_optimization: {
              stage,
              reduce_bucket_size: 4096,
              ...(stage === 3 && { stage3_param_persistence_threshold: 0 }),
            },
          });
          assert.equal(steps.length, expected.losses.length);
          for (const [index, { loss, grad_norm, skipped }] of steps.entries()) {
            const what = `step ${index + 1} of ${ranks} at stage ${stage}`;
            assert.equal(skipped, false, what);
            near(loss, expected.losses[index], tolerance.loss, `loss, ${what}`);
            near(grad_norm, expected.grad_norms[index], tolerance.norm, `norm, ${what}`);
          }
          if (ranks === 1) continue;
          const norms = steps.map(({ grad_norm }) => grad_norm);
          normsOfTwo ??= norms;
          assert.deepEqual(norms, normsOfTwo, `stage ${stage}`);
        }
      });
    }
  }
});

test('a scale that is too large comes down step by step, agreed by both ranks, and training begins', async () => {
  const { settings } = fixture('llama-gqa-tied');
  const steps = await trainSteps(2, {
    ...settings,
    steps: 20,
    fp16: { enabled: true, initial_scale_power: 32 },
    'zero_optimization.stage': 2,
  });
  const skipped = steps.filter((step) => step.skipped);
  assert.ok(skipped.length > 5 && skipped.length < 18, `${skipped.length} steps skipped`);
  for (const [index, step] of steps.entries()) {
    // The first overflow is tolerated, each of the others halves the scale.
    const halvings = Math.max(0, Math.min(index, skipped.length) - 1);
    assert.equal(step.loss_scale, 2 ** (32 - halvings));
    assert.equal(step.skipped, index < skipped.length);
    assert.equal(step.skipped_steps, Math.min(index + 1, skipped.length));
    assert.equal(step.skipped, step.overflow !== undefined);
    assert.ok(step.overflow === undefined || /^(model|lm_head)\./.test(step.overflow));
  }
  assert.ok((steps.at(-1)?.loss ?? Number.NaN) > 0);
});

test('the peak is what the program says', async () => {
  const sequence = Array.from({ length: 192 }, (_, index) => (index * 7) % 256);
  const data = join(root, 'long.jsonl');
  writeFileSync(data, `${JSON.stringify({ input_ids: sequence })}\n`.repeat(8));
  const settings = {
    model: {
      architecture: 'llama',
      vocab_size: 256,
      hidden_size: 256,
      intermediate_size: 688,
      num_hidden_layers: 4,
      num_attention_heads: 4,
      num_key_value_heads: 4,
    },
    'data.path': data,
    steps: 2,
    train_batch_size: 4,
  };
  for (const [ranks, stage, tolerance] of [
    [1, 0, 0.02],
    [2, 1, 0.05],
    [2, 3, 0.05],
  ] as const) {
    const keys = { 'bf16.enabled': true, 'zero_optimization.stage': stage };
    const { end } = await trainRanks(ranks, { ...settings, ...keys });
    const [measured = Number.NaN] = end.measured_peak_bytes ?? [];
    near(measured, end.predicted_peak_bytes?.[0], tolerance, `peak of ${ranks} at stage ${stage}`);
  }
});

describe('what is written', { concurrency: 1 }, () => {
  test('the model in the dtype it computes with, and it can be read again', async () => {
    const { settings } = fixture('llama-gqa-tied');
    for (const [key, dtype, stored] of [
      ['bf16', 'bfloat16', 'BF16'],
      ['fp16', 'float16', 'F16'],
    ] as const) {
      const output = join(root, key);
      const steps = await trainSteps(2, {
        ...settings,
        output,
        [`${key}.enabled`]: true,
        'zero_optimization.stage': 3,
      });
      const config = JSON.parse(readFileSync(join(output, 'config.json'), 'utf8')) as Settings;
      assert.deepEqual([config.dtype, config.torch_dtype], [dtype, dtype]);
      assert.deepEqual(new Set(storedTypes(join(output, 'model.safetensors'))), new Set([stored]));
      const again = await trainSteps(1, { ...settings, model: output, steps: 1 });
      assert.ok((again[0]?.loss ?? Number.NaN) < 1.2 * (steps.at(-1)?.loss ?? Number.NaN));
    }
  });

  test('inspect computes in 16 bits too', async () => {
    const { settings } = fixture('qwen3');
    const of = async (extra: Settings) => {
      const { exitCode, stdout, stderr } = await command(['inspect', EMPTY, '--json'], {
        ...settings,
        ...extra,
      });
      assert.equal(exitCode, 0, stderr);
      return JSON.parse(stdout) as { loss: number; grad_norms: Readonly<Record<string, number>> };
    };
    const exact = await of({});
    for (const key of ['bf16', 'fp16'] as const) {
      const rounded = await of({ [`${key}.enabled`]: true });
      assert.notEqual(rounded.loss, exact.loss);
      near(rounded.loss, exact.loss, TOLERANCES[key].loss, key);
      for (const [name, norm] of Object.entries(rounded.grad_norms)) {
        near(norm, exact.grad_norms[name], 0.1, `${key} ${name}`);
      }
    }
  });
});

/** The element types of a safetensors file, by its header. */
function storedTypes(path: string): readonly string[] {
  const bytes = readFileSync(path);
  const header = bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString('utf8');
  const entries = Object.entries(JSON.parse(header) as Readonly<Record<string, { dtype?: string }>>);
  return entries.flatMap(([, { dtype }]) => dtype ?? []);
}

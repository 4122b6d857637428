import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import { initialize } from '../src/engine/initialize.js';
import { allocatedBytes } from '../src/tensor/memory.js';
import { type Expected, readJson, readSequences } from './models-harness.js';

// Tiny kernels on several threads spend their time waiting for each other.
process.env.OMP_NUM_THREADS = '1';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');
const LOSS_TOLERANCE = 1e-4;
const NORM_TOLERANCE = 1e-3;

/** How far the ledger may be from what is measured. */
const LEDGER_TOLERANCE = 0.05;

/** Big enough that activations outweigh what no ledger lists, small enough to be quick. */
const LLAMA = {
  architecture: 'llama',
  vocab_size: 256,
  hidden_size: 64,
  intermediate_size: 192,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
} as const;

const GPT2 = {
  architecture: 'gpt2',
  vocab_size: 128,
  n_embd: 32,
  n_layer: 4,
  n_head: 4,
  n_positions: 64,
} as const;

const DROPOUT = { resid_pdrop: 0.1, embd_pdrop: 0.2, attn_pdrop: 0.1 } as const;

interface Run {
  readonly weights: Buffer;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly features: readonly string[];
  readonly predicted: number;
  readonly measured: number;
}

/** Trains on the sequences, and says what came out. */
function train(config: UserConfig, sequences: readonly (readonly number[])[], steps: number): Run {
  // Tables of models that no longer exist may still wait for the garbage collector.
  const before = allocatedBytes();
  const engine = initialize({ config });
  const rows = engine.config.train_batch_size;
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-recompute-'));
  try {
    const results = Array.from({ length: steps }, (_, step) => {
      const from = (step * rows) % sequences.length;
      return engine.trainBatch({ inputIds: sequences.slice(from, from + rows) });
    });
    const { features } = engine.program;
    const [predicted] = engine.predictedPeaks();
    const [measured = Number.NaN] = engine.measuredPeakBytes() ?? [];
    engine.saveModel(folder);
    return {
      weights: readFileSync(join(folder, 'model.safetensors')),
      losses: results.map(({ loss }) => loss),
      norms: results.map(({ gradientNorm }) => gradientNorm),
      features,
      predicted: predicted?.bytes ?? Number.NaN,
      measured: measured - before,
    };
  } finally {
    engine.close();
    rmSync(folder, { recursive: true });
  }
}

/** Sequences of ids that follow a fixed rule. */
function sequencesOf(rows: number, length: number, vocabulary: number): readonly (readonly number[])[] {
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length }, (__, position) => (row * 31 + position * 7 + ((position * row) % 5)) % vocabulary),
  );
}

const SEQUENCES = sequencesOf(8, 48, 128);

const POLICIES: readonly NonNullable<UserConfig['recompute']>[] = [
  { policy: 'always' },
  { policy: 'selected', every: 2 },
  { policy: 'selected', blocks: ['*.1'] },
];

describe('recomputed or kept, training is the same', () => {
  for (const name of readdirSync(MODELS)) {
    const folder = join(MODELS, name);
    if (!existsSync(join(folder, 'expected.json'))) continue;
    const expected = readJson<Expected>(folder, 'expected.json');
    const { batch_size, train: answer } = expected;
    const config = {
      model: folder,
      train_batch_size: batch_size,
      gradient_clipping: answer.clip,
      data: { path: join(folder, 'batches.jsonl'), sequence_length: 32 },
      optimizer: {
        type: 'AdamW',
        params: { lr: answer.lr, betas: answer.betas, eps: answer.eps, weight_decay: answer.weight_decay },
      },
    } as const;

    test(`${name}: 20 steps of every policy against their answers`, () => {
      const steps = answer.losses.length;
      const sequences = readSequences(folder, batch_size * steps);
      const plain = train(config, sequences, steps);
      const least = train({ ...config, recompute: { policy: 'always' } }, sequences, 1).predicted;
      for (const recompute of [
        ...POLICIES,
        { policy: 'on-demand', limit_bytes: least } as const,
        { policy: 'on-demand', limit_bytes: Math.round((least + plain.predicted) / 2) } as const,
        { policy: 'budget', budget_bytes: plain.predicted } as const,
      ]) {
        const run = train({ ...config, recompute }, sequences, steps);
        for (const [index, loss] of answer.losses.entries()) {
          near(run.losses[index], loss, LOSS_TOLERANCE, `loss of step ${index + 1}`);
          near(run.norms[index], answer.grad_norms[index] ?? 0, NORM_TOLERANCE, `norm of step ${index + 1}`);
        }
        assert.ok(run.weights.equals(plain.weights), JSON.stringify(recompute));
      }
    });
  }

  for (const [name, model] of Object.entries({
    'without dropout': GPT2,
    'with dropout': { ...GPT2, ...DROPOUT },
  })) {
    test(`GPT-2 ${name}: the same weights to the last bit under every policy`, () => {
      const config: UserConfig = { model, train_batch_size: 4, gradient_accumulation_steps: 2, seed: 3 };
      const plain = train(config, SEQUENCES, 6);
      for (const recompute of POLICIES) {
        const run = train({ ...config, recompute }, SEQUENCES, 6);
        assert.deepEqual(run.losses, plain.losses, JSON.stringify(recompute));
        assert.ok(run.weights.equals(plain.weights), JSON.stringify(recompute));
      }
    });
  }

  test("DeepSpeed's interval selects every k-th block", () => {
    const config: UserConfig = { model: GPT2, train_batch_size: 4, seed: 3 };
    const ours = train({ ...config, recompute: { policy: 'selected', every: 2 } }, SEQUENCES, 1);
    const theirs = train({ ...config, pipeline: { activation_checkpoint_interval: 2 } }, SEQUENCES, 1);
    assert.deepEqual(theirs.features, ours.features);
    assert.ok(ours.features.includes('recompute 2 of 6 blocks'), ours.features.join());
  });
});

describe('the ledger of memory', () => {
  const sequences = sequencesOf(8, 128, 256);
  const config: UserConfig = {
    model: LLAMA,
    train_batch_size: 8,
    data: { path: 'none', sequence_length: 128 },
  };
  const none = train(config, sequences, 2);
  const always = train({ ...config, recompute: { policy: 'always' } }, sequences, 2);

  test('predicts what is measured', () => {
    const limit_bytes = Math.round((always.predicted + none.predicted) / 2);
    for (const recompute of [
      { policy: 'none' },
      ...POLICIES,
      { policy: 'on-demand', limit_bytes },
    ] as const) {
      for (const gradient_accumulation_steps of [1, 2, 4]) {
        const run = train({ ...config, recompute, gradient_accumulation_steps }, sequences, 2);
        near(run.predicted, run.measured, LEDGER_TOLERANCE, `${JSON.stringify(recompute)}: bytes predicted`);
      }
    }
  });

  test('predicts it with dropout too, whose masks and attention scores are kept', () => {
    const model = { ...GPT2, ...DROPOUT };
    for (const recompute of [{ policy: 'none' }, { policy: 'always' }] as const) {
      const data = { path: 'none', sequence_length: 48 };
      const run = train({ model, data, train_batch_size: 8, recompute }, SEQUENCES, 2);
      near(run.predicted, run.measured, LEDGER_TOLERANCE, `${recompute.policy}: bytes predicted`);
    }
  });

  test('falls where blocks are recomputed', () => {
    assert.ok(always.measured < 0.7 * none.measured, `${always.measured} of ${none.measured}`);
  });

  test('stays inside each of eight budgets between always and none, with fewer blocks the larger it is', () => {
    const recomputed = Array.from({ length: 8 }, (_, index) => {
      const budget_bytes = Math.ceil(always.measured + ((none.measured - always.measured) * index) / 7);
      const run = train({ ...config, recompute: { policy: 'budget', budget_bytes } }, sequences, 4);
      assert.ok(run.measured <= budget_bytes, `${run.measured} bytes of ${budget_bytes}`);
      assert.ok(run.weights.length === none.weights.length);
      return Number(/recompute (\d+) of/.exec(run.features.join())?.[1] ?? 0);
    });
    assert.deepEqual(
      recomputed,
      [...recomputed].sort((left, right) => right - left),
    );
    assert.ok(new Set(recomputed).size >= 5, recomputed.join());
  });

  test('refuses a budget or a limit that nothing fits, and says what would', () => {
    for (const recompute of [
      { policy: 'budget', budget_bytes: 1000 },
      { policy: 'on-demand', limit_bytes: always.predicted - 1 },
    ] as const) {
      assert.throws(() => initialize({ config: { ...config, recompute } }), /at least \d+ bytes/);
    }
    const recompute = { policy: 'on-demand', limit_bytes: always.predicted } as const;
    assert.ok(train({ ...config, recompute }, sequences, 2).measured <= always.predicted);
  });
});

function near(got: number | undefined, expected: number, tolerance: number, what: string): void {
  const error = Math.abs((got ?? Number.NaN) - expected) / Math.max(Math.abs(expected), Number.MIN_VALUE);
  assert.ok(error <= tolerance || got === expected, `${what}: ${got} for ${expected}, off by ${error}`);
}

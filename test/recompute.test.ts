import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import { initialize } from '../src/engine/initialize.js';
import { near } from './near.js';
import { answeredTrainings, DROPOUT, GPT2, SEQUENCES, sequencesOf, train } from './recompute-harness.js';

// Tiny kernels on several threads spend their time waiting for each other.
process.env.OMP_NUM_THREADS = '1';

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

const POLICIES: readonly NonNullable<UserConfig['recompute']>[] = [
  { policy: 'always' },
  { policy: 'selected', every: 2 },
  { policy: 'selected', blocks: ['*.1'] },
];

describe('recomputed or kept, training is the same', () => {
  for (const { name, config, steps, sequences: read, demand } of answeredTrainings()) {
    test(`${name}: ${steps} steps of every policy against their answers`, () => {
      const sequences = read();
      const plain = train(config, sequences, steps);
      const least = train({ ...config, recompute: { policy: 'always' } }, sequences, 1).predicted;
      for (const recompute of [
        ...POLICIES,
        { policy: 'on-demand', limit_bytes: least } as const,
        { policy: 'on-demand', limit_bytes: Math.round((least + plain.predicted) / 2) } as const,
        { policy: 'budget', budget_bytes: plain.predicted } as const,
      ]) {
        const run = train({ ...config, recompute }, sequences, steps);
        demand(run);
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

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { run } from './command-line.js';
import { type Expected, readJson } from './models-harness.js';
import { trainZero } from './train-zero.js';
import type { ZeroOutcome } from './zero-program.js';

// Quantized weights and gradients of ZeRO++ (DeepSpeed: zero_quantized_weights, zero_quantized_gradients).

const EMPTY = join(import.meta.dirname, '../../test/fixtures/empty-config.json');
const FOLDER = join(import.meta.dirname, '../../test/fixtures/models/llama-gqa-tied');

/** Trains a model of odd sizes for three steps, on hosts of so many ranks. */
async function trainOdd(
  ranks: number,
  ranksPerHost: number,
  zero: UserConfig['zero_optimization'],
): Promise<readonly ZeroOutcome[]> {
  const config: UserConfig = {
    train_batch_size: 2 * ranks,
    gradient_accumulation_steps: 2,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0, reduce_bucket_size: 2000, ...zero },
  };
  return trainZero(ranks, config, { ranksPerHost });
}

describe('ZeRO++', { concurrency: 1 }, () => {
  test('every rank sends the bytes that its program says, and fewer than without', async () => {
    const plain = await trainOdd(4, 2, {});
    let before = plain.map(({ sent }) => sent);
    for (const zero of [
      { zero_quantized_weights: true },
      { zero_quantized_weights: true, zero_quantized_gradients: true },
    ]) {
      const outcomes = await trainOdd(4, 2, zero);
      for (const [rank, { sent, predicted }] of outcomes.entries()) {
        assert.equal(sent, predicted, JSON.stringify(zero));
        assert.ok(sent < (before[rank] ?? 0), `${sent} bytes, ${before[rank]} before`);
      }
      before = outcomes.map(({ sent }) => sent);
    }
  });

  test('on one host gradients travel as they are, and a note says so', async () => {
    const [plain, quantized] = await Promise.all(
      [false, true].map((on) => trainOdd(2, 2, { zero_quantized_gradients: on })),
    );
    assert.equal(quantized?.[0]?.atEnd, plain?.[0]?.atEnd);
    const { stderr } = await steps(['zero_optimization={"stage":3,"zero_quantized_gradients":true}']);
    assert.match(stderr, /zero_quantized_gradients: .+ full precision/);
  });

  test('what says otherwise how gradients travel is refused, and so is quantizing what is not divided', () => {
    const refusal = (config: UserConfig): string => {
      try {
        resolveConfig({ train_batch_size: 2, ...config });
      } catch (error) {
        return String(error);
      }
      return 'accepted';
    };
    const quantized = (stage: 2 | 3) => ({ stage, zero_quantized_gradients: true });
    assert.match(refusal({ zero_optimization: quantized(2) }), /no effect at stage 2/);
    const int8 = { communication: { compression: 'int8' } } as const;
    assert.match(refusal({ zero_optimization: quantized(3), ...int8 }), /gradients in int8/);
    assert.match(
      refusal({ zero_optimization: quantized(3), communication_data_type: 'bf16' }),
      /gradients in bf16/,
    );
    assert.equal(refusal({ zero_optimization: quantized(3), bf16: { enabled: true } }), 'accepted');
  });

  // Twice what was seen, about.
  test('20 steps with quantized weights: within 0.2 % of the losses in fp32', async () => {
    const expected = readJson<Expected>(FOLDER, 'expected.json');
    const { losses } = await steps(['zero_optimization={"stage":3,"zero_quantized_weights":true}']);
    assert.equal(losses.length, expected.train.losses.length);
    const errors = losses.map((loss, step) => Math.abs(loss / (expected.train.losses[step] ?? 0) - 1));
    assert.ok(Math.max(...errors) < 2e-3, `off by ${Math.max(...errors)}`);
    assert.ok(Math.max(...errors) > 1e-7, 'nothing was quantized');
  });
});

/** The losses of a run on two ranks. */
async function steps(settings: readonly string[]) {
  const { batch_size, train } = readJson<Expected>(FOLDER, 'expected.json');
  const { lr, betas, eps, weight_decay } = train;
  const set = [
    `model=${FOLDER}`,
    `data.path=${join(FOLDER, 'batches.jsonl')}`,
    `steps=${train.losses.length}`,
    `train_batch_size=${batch_size}`,
    `gradient_clipping=${train.clip}`,
    `optimizer={"type":"AdamW","params":${JSON.stringify({ lr, betas, eps, weight_decay })}}`,
    ...settings,
  ].flatMap((setting) => ['--set', setting]);
  const { exitCode, stdout, stderr } = await run(['train', EMPTY, '--ranks', '2', ...set, '--json']);
  assert.equal(exitCode, 0, stderr);
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { readonly event: string; readonly loss: number });
  const losses = events.filter(({ event }) => event === 'step').map(({ loss }) => loss);
  return { losses, stderr };
}

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import type { MemoryPeak } from '../src/step/checker/data-flow.js';
import { LEDGER_LLAMA } from './ledger-models.js';
import { type Expected, readJson } from './models-harness.js';
import { near } from './near.js';
import { runRanks } from './run-ranks.js';
import { trainRanks } from './train-ranks.js';
import { trainZero } from './train-zero.js';
import type { ZeroOutcome } from './zero-program.js';

// ZeRO stage 3 with a second copy of the parameters, which neighbours divide (ZeRO++ hpZ).

const FIXTURES = join(import.meta.dirname, '../../test/fixtures/models');
const SECONDARY = { type: 'secondary', size: 2 } as const;
const ZERO = { stage: 3, reduce_bucket_size: 4096, stage3_param_persistence_threshold: 0 } as const;

describe('PyTorch’s losses and gradient norms with a second copy', { concurrency: 1 }, () => {
  for (const [model, settings] of [
    ['llama-gqa-tied', {}],
    ['gpt2-relu', { 'zero_optimization.overlap_comm': false, 'recompute.policy': 'always' }],
  ] as const) {
    test(model, async () => {
      const folder = join(FIXTURES, model);
      const { batch_size, train: expected } = readJson<Expected>(folder, 'expected.json');
      const { lr, betas, eps, weight_decay } = expected;
      const { steps } = await trainRanks(4, {
        model: folder,
        'data.path': join(folder, 'batches.jsonl'),
        steps: expected.losses.length,
        train_batch_size: batch_size,
        gradient_clipping: expected.clip,
        optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
        zero_optimization: ZERO,
        redundancy: SECONDARY,
        ...settings,
      });
      assert.equal(steps.length, expected.losses.length);
      for (const [index, { loss, grad_norm }] of steps.entries()) {
        near(loss, expected.losses[index], 1e-4, `loss of step ${index + 1}`);
        near(grad_norm, expected.grad_norms[index], 1e-4, `norm of step ${index + 1}`);
      }
    });
  }
});

async function trainOdd(config: UserConfig): Promise<readonly ZeroOutcome[]> {
  const whole: UserConfig = {
    train_batch_size: 8,
    gradient_accumulation_steps: 2,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    zero_optimization: ZERO,
    ...config,
  };
  return trainZero(4, whole, { ranksPerHost: 2 });
}

test('of the parameters only the first gather of a block leaves the host, and the weights are the same bits', async () => {
  for (const beside of [{}, { bf16: { enabled: true } }] as const) {
    const width = 'bf16' in beside ? 2 : 4;
    const plain = await trainOdd(beside);
    const copied = await trainOdd({ ...beside, redundancy: SECONDARY });
    for (const [rank, { sent, sentFromCopy, predicted, lengths, atEnd }] of copied.entries()) {
      assert.equal(sent, predicted);
      assert.equal(atEnd, plain[0]?.atEnd);
      const parameters = lengths.reduce((sum, length) => sum + length, 0);
      const [embedding = 0, head = 0] = [lengths[0], lengths.at(-1)];
      const uses = 2 * (2 * parameters - head + embedding) - embedding;
      // What is gathered again goes to one neighbour in place of three ranks.
      const again = uses - parameters;
      assert.equal(sentFromCopy, (width * again) / 2);
      assert.equal((plain[rank]?.sent ?? 0) - sent, width * again * (3 / 4 - 1 / 2));
    }
  }
});

test('quantized weights come from the copy as they came first', async () => {
  const zero_optimization = { ...ZERO, zero_quantized_weights: true };
  const [plain] = await trainOdd({ zero_optimization });
  for (const { sent, predicted, atEnd } of await trainOdd({ zero_optimization, redundancy: SECONDARY })) {
    assert.equal(sent, predicted);
    assert.equal(atEnd, plain?.atEnd);
  }
});

test('the copy is a line in the ledger, which is what is measured', async () => {
  interface Measured {
    readonly measured: number;
    readonly predicted: MemoryPeak;
  }
  for (const bf16 of [{ enabled: false }, { enabled: true }]) {
    const config = {
      model: LEDGER_LLAMA,
      data: { path: 'none', sequence_length: 64 },
      train_batch_size: 12,
      bf16,
      optimizer: { type: 'AdamW', params: { lr: 0.001 } },
      zero_optimization: ZERO,
      redundancy: SECONDARY,
    };
    const results = await runRanks<Measured>('ledger-program.js', 4, [JSON.stringify(config)]);
    for (const { measured, predicted } of results) {
      assert.ok(predicted.ledger.secondary > 0);
      const off = Math.abs(measured / predicted.bytes - 1);
      assert.ok(off <= 0.02, `${measured} bytes for ${predicted.bytes}`);
    }
  }
});

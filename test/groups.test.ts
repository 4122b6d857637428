import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import type { MemoryPeak } from '../src/step/checker/data-flow.js';
import { LEDGER_LLAMA } from './ledger-models.js';
import { type Expected, readJson } from './models-harness.js';
import { near } from './near.js';
import { runRanks } from './run-ranks.js';
import { trainRanks } from './train-ranks.js';
import { trainZero } from './train-zero.js';
import type { ZeroOutcome, ZeroTask } from './zero-program.js';

// Training state that is divided inside groups of ranks, of which every one has all (MiCS).

const FIXTURES = join(import.meta.dirname, '../../test/fixtures/models');
const GROUPS = { type: 'groups', size: 2 } as const;

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-groups-'));
});
after(() => rmSync(root, { recursive: true }));

type Stage = 1 | 2 | 3;

function zeroAt(stage: Stage) {
  return { stage, reduce_bucket_size: 4096, ...(stage === 3 && { stage3_param_persistence_threshold: 0 }) };
}

describe('PyTorch’s losses and gradient norms in groups of two', { concurrency: 1 }, () => {
  const cases: readonly (readonly [string, Stage, number, Readonly<Record<string, unknown>>])[] = [
    ['llama-gqa-tied', 1, 4, {}],
    ['qwen3', 2, 4, { 'zero_optimization.overlap_comm': false }],
    ['llama-gqa-tied', 3, 4, {}],
    ['gpt2-relu', 3, 4, { 'communication.algorithm': 'ring' }],
    ['llama-gqa-tied', 2, 8, { mesh: { tensor: 2, sequence_parallel: true } }],
  ];
  for (const [model, stage, ranks, settings] of cases) {
    test(`${model}, stage ${stage} on ${ranks}`, async () => {
      const folder = join(FIXTURES, model);
      const { batch_size, train: expected } = readJson<Expected>(folder, 'expected.json');
      const { lr, betas, eps, weight_decay } = expected;
      const { steps } = await trainRanks(ranks, {
        model: folder,
        'data.path': join(folder, 'batches.jsonl'),
        steps: expected.losses.length,
        train_batch_size: batch_size,
        gradient_clipping: expected.clip,
        optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
        zero_optimization: zeroAt(stage),
        redundancy: GROUPS,
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

test('with micro-batches groups come to what one rank alone comes to', async () => {
  const folder = join(FIXTURES, 'llama-gqa-tied');
  const train = async (ranks: number, settings: Readonly<Record<string, unknown>>) =>
    trainRanks(ranks, {
      model: folder,
      'data.path': join(folder, 'batches.jsonl'),
      steps: 6,
      train_batch_size: 8,
      gradient_clipping: 0.5,
      optimizer: { type: 'AdamW', params: { lr: 0.01 } },
      ...settings,
    });
  const alone = await train(1, {});
  for (const stage of [1, 2, 3] as const) {
    const grouped = await train(4, {
      gradient_accumulation_steps: 2,
      zero_optimization: zeroAt(stage),
      redundancy: GROUPS,
    });
    for (const [index, { loss, grad_norm }] of grouped.steps.entries()) {
      near(loss, alone.steps[index]?.loss, 1e-4, `loss of step ${index + 1} at stage ${stage}`);
      near(grad_norm, alone.steps[index]?.grad_norm, 1e-4, `norm of step ${index + 1} at stage ${stage}`);
    }
  }
});

async function trainOdd(
  ranks: number,
  config: UserConfig,
  task: ZeroTask = {},
): Promise<readonly ZeroOutcome[]> {
  const whole: UserConfig = {
    train_batch_size: 8,
    gradient_accumulation_steps: 2,
    gradient_clipping: 0.5,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    ...config,
  };
  return trainZero(ranks, whole, task);
}

/**
 * What a rank sends in a step of two micro-batches to those of its group, over which ZeRO divides, and to its
 * counterparts in the others: its slices of the gradients, once; of the tally four numbers to each.
 */
function bytesByFormula(stage: Stage, lengths: readonly number[], size: number, groups: number): number {
  const parameters = lengths.reduce((sum, length) => sum + length, 0);
  const [embedding = 0, head = 0] = [lengths[0], lengths.at(-1)];
  // The embedding is the head's as well.
  const uses = 2 * (2 * parameters - head + embedding) - embedding;
  const inside = { 1: 2 * parameters, 2: 3 * parameters, 3: 2 * parameters + uses }[stage];
  const across = 2 * (parameters / size);
  return (
    (4 * inside * (size - 1)) / size +
    32 * (size - 1) +
    (4 * across * (groups - 1)) / groups +
    32 * (groups - 1)
  );
}

describe('bytes in groups are those of the formulas, and states those of a group', { concurrency: 1 }, () => {
  for (const stage of [1, 2, 3] as const) {
    test(`stage ${stage}`, async () => {
      for (const algorithm of ['auto', 'backend'] as const) {
        const outcomes = await trainOdd(4, {
          zero_optimization: zeroAt(stage),
          redundancy: GROUPS,
          communication: { algorithm },
        });
        for (const { sent, predicted, optimizerBytes, lengths } of outcomes) {
          assert.equal(sent, predicted);
          assert.equal(sent, bytesByFormula(stage, lengths, 2, 2));
          const parameters = lengths.reduce((sum, length) => sum + length, 0);
          assert.equal(optimizerBytes, (2 * 4 * parameters) / 2);
        }
      }
    });
  }

  test('in fewer bits both sums travel, and every group has the same weights', async () => {
    for (const compression of ['bf16', 'int8'] as const) {
      const outcomes = await trainOdd(4, {
        zero_optimization: zeroAt(2),
        redundancy: GROUPS,
        communication: { compression },
      });
      for (const { sent, predicted, lengths } of outcomes) {
        assert.equal(sent, predicted);
        assert.ok(sent < bytesByFormula(2, lengths, 2, 2));
      }
    }
  });
});

test('a checkpoint of groups goes on without them, and the other way round', async () => {
  const plain: UserConfig = { zero_optimization: zeroAt(1) };
  const groups: UserConfig = { zero_optimization: zeroAt(3), redundancy: GROUPS };
  const [from, to] = [join(root, 'from-groups'), join(root, 'to-groups')];
  const [saved] = await trainOdd(4, groups, { save: from });
  const [again] = await trainOdd(4, groups, { load: from });
  assert.equal(again?.atEnd, saved?.atEnd, 'it goes on bit for bit');
  const [without] = await trainOdd(2, plain, { load: from });
  assert.equal(without?.atStart, again?.atStart);
  const [second] = await trainOdd(1, {}, { save: to });
  assert.ok(second);
  const [grouped] = await trainOdd(4, groups, { load: to });
  const [alone] = await trainOdd(1, {}, { load: to });
  assert.equal(grouped?.atStart, alone?.atStart);
});

test('mixed precision agrees on overflow over all groups', async () => {
  for (const precision of [{ bf16: { enabled: true } }, { fp16: { enabled: true } }] as const) {
    const outcomes = await trainOdd(4, { zero_optimization: zeroAt(2), redundancy: GROUPS, ...precision });
    for (const { sent, predicted } of outcomes) assert.equal(sent, predicted);
  }
});

test('the ledger of memory is what is measured', async () => {
  interface Measured {
    readonly measured: number;
    readonly predicted: MemoryPeak;
  }
  for (const stage of [1, 3] as const) {
    const config = {
      model: LEDGER_LLAMA,
      data: { path: 'none', sequence_length: 64 },
      train_batch_size: 12,
      optimizer: { type: 'AdamW', params: { lr: 0.001 } },
      zero_optimization: { stage },
      redundancy: GROUPS,
    };
    for (const { measured, predicted } of await runRanks<Measured>('ledger-program.js', 4, [
      JSON.stringify(config),
    ])) {
      const off = Math.abs(measured / predicted.bytes - 1);
      assert.ok(off <= 0.02, `${measured} bytes for ${predicted.bytes}`);
    }
  }
});

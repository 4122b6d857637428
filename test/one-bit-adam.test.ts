import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { outcomes } from './precision-harness.js';
import { trainRanks } from './train-ranks.js';
import { trainZero } from './train-zero.js';
import type { ZeroOutcome, ZeroTask } from './zero-program.js';

// 1-bit Adam: AdamW until it freezes, then one bit of the momentum from every rank in place of gradients.

const EXCERPT = join(import.meta.dirname, '../../test/fixtures/data/excerpt.txt');

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-one-bit-adam-'));
});
after(() => rmSync(root, { recursive: true }));

/** Three steps of a model of odd sizes, the last two of them frozen, or those that a checkpoint lacks of three. */
async function trainOdd(
  ranks: number,
  zero: UserConfig['zero_optimization'],
  task: ZeroTask = {},
): Promise<readonly ZeroOutcome[]> {
  const config: UserConfig = {
    train_batch_size: 6,
    optimizer: { type: 'OneBitAdam', params: { lr: 0.01, freeze_step: 1 } },
    zero_optimization: zero,
    communication: { deterministic: true },
  };
  return trainZero(ranks, config, task);
}

/** The mean loss of the last 20 steps of a run over text. */
async function lastLoss(ranks: number, stage: number, optimizer: object): Promise<number> {
  const model = {
    architecture: 'llama',
    vocab_size: 256,
    hidden_size: 64,
    intermediate_size: 128,
    num_hidden_layers: 2,
    num_attention_heads: 4,
  };
  const { steps } = await trainRanks(ranks, {
    model,
    data: { path: EXCERPT, tokenizer: 'bytes', sequence_length: 32 },
    steps: 150,
    train_batch_size: 12,
    optimizer,
    'zero_optimization.stage': stage,
  });
  const losses = steps.map(({ loss }) => loss);
  return losses.slice(-20).reduce((sum, loss) => sum + loss, 0) / 20;
}

describe('OneBitAdam', { concurrency: 1 }, () => {
  test('every rank sends the bytes that its program says, and keeps the states that it says', async () => {
    for (const [ranks, zero, phase] of [
      [2, { stage: 0, reduce_bucket_size: 200 }, 'frozen'],
      [3, { stage: 0 }, 'frozen'],
      [3, { stage: 1 }, 'freezing'],
    ] as const) {
      for (const { sent, predicted, optimizerBytes, lengths } of await trainOdd(ranks, zero, { phase })) {
        assert.equal(sent, predicted, `${ranks} ranks, ${JSON.stringify(zero)}`);
        const elements = lengths.reduce((sum, length) => sum + length, 0);
        const seconds = zero.stage === 0 ? elements : elements / ranks;
        assert.equal(optimizerBytes, 4 * (elements + seconds));
      }
    }
  });

  test('stages 0 and 1 end with the same bits, whatever the overlap', async () => {
    const weights = await Promise.all(
      ([{ stage: 0 }, { stage: 1 }, { stage: 1, overlap_comm: false }] as const).map(
        async (zero) => (await trainOdd(2, zero))[0]?.atEnd,
      ),
    );
    assert.equal(new Set(weights).size, 1);
  });

  for (const [ranks, stage] of [
    [2, 0],
    [3, 1],
  ] as const) {
    test(`${ranks} ranks, stage ${stage}: goes on from a checkpoint to the last bit`, async () => {
      const folder = join(root, `${ranks}-${stage}`);
      const [whole] = await trainOdd(ranks, { stage }, { save: folder });
      const [resumed] = await trainOdd(ranks, { stage }, { load: folder });
      assert.equal(resumed?.atEnd, whole?.atEnd);
    });
  }

  test('a step that overflows is as if it had not been, before it freezes and after', async () => {
    for (const [ranks, stage] of [
      [1, 0],
      [2, 0],
      [2, 1],
    ] as const) {
      const config = {
        fp16: { enabled: true, initial_scale_power: 8, hysteresis: 1 },
        optimizer: { type: 'OneBitAdam', params: { lr: 0.01, freeze_step: 2 } },
        zero_optimization: { stage },
      };
      const [with_] = await outcomes(ranks, config, { steps: 'oxoxoxo' });
      const [without] = await outcomes(ranks, config, { steps: 'oooo' });
      assert.equal(with_?.weights, without?.weights, `${ranks} ranks, stage ${stage}`);
      assert.deepEqual(
        with_?.results.map(({ overflow }) => overflow),
        [undefined, 'head.switch', undefined, 'head.switch', undefined, 'head.switch', undefined],
      );
    }
  });

  test('on text it comes as far as AdamW after it froze, at stage 0 and at stage 1', async () => {
    const params = { lr: 3e-3, betas: [0.9, 0.95] };
    const expected = await lastLoss(2, 0, { type: 'AdamW', params });
    for (const [ranks, stage] of [
      [2, 0],
      [3, 1],
    ] as const) {
      const loss = await lastLoss(ranks, stage, {
        type: 'OneBitAdam',
        params: { ...params, freeze_step: 40 },
      });
      assert.ok(
        Math.abs(loss / expected - 1) < 0.03,
        `${ranks} ranks, stage ${stage}: ${loss} for ${expected}`,
      );
    }
  });

  test('what does not go together with it is refused with the reason', () => {
    const refusal = (config: UserConfig): string => {
      try {
        resolveConfig({ train_batch_size: 2, optimizer: { type: 'OneBitAdam' }, ...config });
      } catch (error) {
        return String(error);
      }
      return 'accepted';
    };
    assert.match(refusal({ zero_optimization: { stage: 2 } }), /no rank keeps all of them/);
    assert.match(refusal({ communication: { compression: 'one-bit' } }), /to learn how large they are/);
    const endsAt = (steps: number, params: object) =>
      refusal({ steps, optimizer: { type: 'OneBitAdam', params } });
    assert.match(endsAt(20, {}), /compresses nothing in this run.*below 20, the steps of the run/s);
    assert.match(endsAt(20, { freeze_step: 20 }), /compresses nothing/);
    assert.equal(endsAt(20, { freeze_step: 19 }), 'accepted');
    assert.equal(
      refusal({ communication: { compression: 'bf16' }, zero_optimization: { stage: 1 } }),
      'accepted',
    );
  });
});

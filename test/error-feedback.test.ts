import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { UserConfig } from '../src/index.js';
import { outcomes } from './precision-harness.js';
import { trainZero } from './train-zero.js';

// What one-bit messages have lost is a part of the training state: it stays with a step that is left out, goes into
// checkpoints, and comes back from them.

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-errors-'));
});
after(() => rmSync(root, { recursive: true }));

const ONE_BIT = { communication: { compression: 'one-bit' }, communication_data_type: undefined } as const;

/** Three steps of a model of odd sizes, or those that a checkpoint lacks of three: the weights after them. */
async function train(
  ranks: number,
  zero: UserConfig['zero_optimization'],
  task: { readonly save?: string; readonly load?: string },
): Promise<string> {
  const config: UserConfig = {
    train_batch_size: 6,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    zero_optimization: zero,
    ...ONE_BIT,
  };
  const [first] = await trainZero(ranks, config, task);
  return first?.atEnd ?? '';
}

describe('errors of messages', { concurrency: 1 }, () => {
  for (const [ranks, zero] of [
    [2, { stage: 0 }],
    [3, { stage: 0, reduce_bucket_size: 200 }],
    [3, { stage: 1 }],
    [2, { stage: 2 }],
    [2, { stage: 3, reduce_bucket_size: 200 }],
  ] as const) {
    test(`${ranks} ranks, ${JSON.stringify(zero)}: a run goes on from a checkpoint to the last bit`, async () => {
      const folder = join(root, `${ranks}-${zero.stage}`);
      const whole = await train(ranks, zero, { save: folder });
      assert.equal(await train(ranks, zero, { load: folder }), whole);
    });
  }

  test('a checkpoint is one for every number of ranks, and for every stage', async () => {
    const folder = join(root, 'other');
    const whole = await train(2, { stage: 0 }, { save: folder });
    for (const [ranks, stage] of [
      [1, 0],
      [3, 0],
      [2, 3],
    ] as const) {
      assert.notEqual(await train(ranks, { stage }, { load: folder }), whole);
    }
  });

  for (const [name, keys] of Object.entries({
    bf16: { bf16: { enabled: true } },
    fp16: { fp16: { enabled: true, initial_scale_power: 8, hysteresis: 1 } },
  })) {
    test(`${name}: a step that overflows leaves them as they were, under any loss scale`, async () => {
      for (const [ranks, stage] of [
        [2, 0],
        [3, 1],
        [2, 2],
      ] as const) {
        const config = { ...keys, ...ONE_BIT, zero_optimization: { stage } };
        const [with_] = await outcomes(ranks, config, { steps: 'oxoxo' });
        const [without] = await outcomes(ranks, config, { steps: 'ooo' });
        assert.ok(with_ && without);
        assert.deepEqual(
          with_.results.map(({ skipped }) => skipped),
          [false, true, false, true, false],
        );
        assert.equal(with_.weights, without.weights, `${ranks} ranks, stage ${stage}`);
      }
    });
  }

  test('a run goes on from a checkpoint after a step that was left out', async () => {
    const config = { fp16: { enabled: true, initial_scale_power: 8, hysteresis: 1 }, ...ONE_BIT };
    const save = join(root, 'skipped');
    const [whole] = await outcomes(2, config, { steps: 'ooxoo', save: join(root, 'unused') });
    await outcomes(2, config, { steps: 'oox', save });
    const [resumed] = await outcomes(2, config, { steps: 'oo', load: save });
    assert.equal(resumed?.weights, whole?.weights);
  });
});

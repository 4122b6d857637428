import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Outcome, outcomes, type Settings } from './precision-harness.js';

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-precision-'));
});
after(() => rmSync(root, { recursive: true }));

/** Ranks and ZeRO stages. */
const LAYOUTS = [
  [1, 3],
  [2, 0],
  [2, 1],
  [2, 2],
  [2, 3],
] as const;
const KINDS: Readonly<Record<string, Settings>> = {
  bf16: { bf16: { enabled: true } },
  'fp16 with a static scale': { fp16: { enabled: true, loss_scale: 256 } },
};

describe('a step whose gradients overflow is as if it had not been', { concurrency: 1 }, () => {
  for (const [kind, keys] of Object.entries(KINDS)) {
    test(kind, async () => {
      const withoutOverflow = new Map<number, Outcome | undefined>();
      for (const [ranks, stage] of LAYOUTS) {
        const config = { ...keys, zero_optimization: { stage } };
        const [with_] = await outcomes(ranks, config, { steps: 'oxoxxo' });
        const without = withoutOverflow.get(ranks) ?? (await outcomes(ranks, keys, { steps: 'ooo' }))[0];
        withoutOverflow.set(ranks, without);
        assert.ok(with_ && without);
        assert.equal(with_.weights, without.weights, `stage ${stage}`);
        const sound = with_.results.filter(({ skipped }) => !skipped);
        assert.deepEqual(
          sound.map(({ gradientNorm, learningRate }) => [gradientNorm, learningRate]),
          without.results.map(({ gradientNorm, learningRate }) => [gradientNorm, learningRate]),
        );
        assert.deepEqual(
          with_.results.map(({ overflow, skippedSteps }) => [overflow, skippedSteps]),
          [
            [undefined, 0],
            ['head.switch', 1],
            [undefined, 1],
            ['head.switch', 2],
            ['head.switch', 3],
            [undefined, 3],
          ],
        );
      }
    });
  }

  test('without bf16.check_grad_overflow no step is left out', async () => {
    const config = { bf16: { enabled: true, check_grad_overflow: false } };
    const [outcome] = await outcomes(1, config, { steps: 'oo' });
    assert.deepEqual(
      outcome?.results.map(({ skipped }) => skipped),
      [false, false],
    );
  });
});

describe('the loss scale', { concurrency: 1 }, () => {
  const fp16 = { enabled: true, initial_scale_power: 8, loss_scale_window: 2, hysteresis: 2 };

  test('follows the rule at every stage', async () => {
    for (const [ranks, stage] of LAYOUTS) {
      const config = { fp16, zero_optimization: { stage } };
      const [outcome] = await outcomes(ranks, config, { steps: 'oxxooooox' });
      assert.deepEqual(
        outcome?.results.map(({ lossScale }) => lossScale),
        [256, 256, 256, 128, 128, 128, 256, 256, 512],
        `${ranks} ranks, stage ${stage}`,
      );
    }
  });

  test('goes on from a checkpoint, and so do the masters, at any stage', async () => {
    const save = join(root, 'scale');
    const [whole] = await outcomes(2, { fp16 }, { steps: 'oxxooxo' });
    await outcomes(2, { fp16, zero_optimization: { stage: 3 } }, { steps: 'oxxoo', save });
    for (const stage of [0, 1, 2, 3]) {
      const config = { fp16, zero_optimization: { stage } };
      const [resumed] = await outcomes(2, config, { steps: 'xo', load: save });
      for (const [index, { loss: _, ...result }] of (resumed?.results ?? []).entries()) {
        const { loss: __, ...expected } = whole?.results[index + 5] ?? { loss: Number.NaN };
        assert.deepEqual(result, expected, `stage ${stage}`);
      }
      assert.equal(resumed?.weights, whole?.weights, `stage ${stage}`);
    }
  });

  test('that cannot come down ends the run', async () => {
    const lowest = { enabled: true, initial_scale_power: 1, min_loss_scale: 2, hysteresis: 1 };
    await assert.rejects(
      outcomes(1, { fp16: lowest }, { steps: 'ox' }),
      /LOSS_SCALE_EXHAUSTED|smallest loss scale/,
    );
  });
});

describe('bytes', { concurrency: 1 }, () => {
  for (const [ranks, stage] of LAYOUTS) {
    test(`of ${ranks} at stage ${stage}`, async () => {
      const config = {
        bf16: { enabled: true },
        zero_optimization: { stage, ...(stage === 3 && { stage3_param_persistence_threshold: 0 }) },
        // The standard: 16 bits.
        communication_data_type: undefined,
      };
      const found = await outcomes(ranks, config, { steps: 'oo' });
      for (const { ledger, optimizerBytes, parameters, sent, collectives } of found) {
        const owners = stage === 0 ? 1 : ranks;
        assert.equal(ledger.masters, (4 * parameters) / owners);
        assert.equal(optimizerBytes, (8 * parameters) / owners);
        assert.equal(ledger.parameters, stage === 3 && ranks > 1 ? 0 : 2 * parameters);
        if (ranks === 1) continue;
        const predicted = collectives.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
        assert.equal(sent[1], Math.round(predicted));
        if (stage === 0) continue;
        const sentBy = (wanted: string) => collectives.find(({ kind }) => kind === wanted)?.sentBytes ?? 0;
        const gathered = sentBy('all-gather');
        const tally = 32 * (ranks - 1);
        const whole = (2 * parameters * (ranks - 1)) / ranks;
        assert.equal(sentBy('reduce-scatter'), whole);
        if (stage < 3) assert.equal(gathered - tally, whole);
        else assert.ok(gathered - tally > whole && gathered - tally <= 3 * whole);
      }
    });
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveConfig, type UserConfig } from './config.js';
import { lossScalingOf } from './loss-scaling.js';

const LENGTH = 48;

function scalingOf(keys: UserConfig) {
  return lossScalingOf(resolveConfig({ train_batch_size: 6, ...keys }), LENGTH);
}

test('in fp16 the scale is that of the mean loss of a global batch of full sequences', () => {
  // What DeepSpeed's examples carry along beside a static scale asks for nothing.
  const carried = { initial_scale_power: 16, loss_scale_window: 1000, hysteresis: 2, min_loss_scale: 1 };
  const { factor, scaling } = scalingOf({ fp16: { enabled: true, loss_scale: 512, ...carried } });
  assert.deepEqual(scaling, { kind: 'static', scale: 512 });
  const tokenLoss = 2.5;
  const sum = 6 * LENGTH * tokenLoss;
  assert.ok(Math.abs(sum * factor - tokenLoss) < 1e-12);
});

test('a loss scale of 0 begins at the power, and follows the other keys', () => {
  const { scaling } = scalingOf({
    fp16: {
      enabled: true,
      initial_scale_power: 9,
      loss_scale_window: 7,
      hysteresis: 3,
      consecutive_hysteresis: true,
      min_loss_scale: 2,
    },
  });
  assert.deepEqual(scaling, {
    kind: 'dynamic',
    initialScale: 512,
    window: 7,
    hysteresis: 3,
    consecutiveHysteresis: true,
    minimumScale: 2,
  });
});

test('fp32 and bf16 have no scale', () => {
  for (const keys of [{}, { bf16: { enabled: true } }, { bfloat16: { enabled: true } }]) {
    assert.deepEqual(scalingOf(keys), { factor: 1 / 6, scaling: { kind: 'static', scale: 1 } });
  }
});

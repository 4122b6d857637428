import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { z } from 'zod';
import { defineConfig, type ResolvedConfig, resolveConfig } from '../config.js';
import type { DeepReadonly } from './resolve.js';
import type { configSchema } from './schema.js';
import type { UserConfig } from './user-config.js';

type Input = DeepReadonly<z.input<typeof configSchema>>;

test('the spelled-out type and the schema say the same', () => {
  // The assertion is the compiler's: each type is assignable to the other.
  const asSchema = (config: UserConfig): Input => config;
  const asType = (config: Input): UserConfig => config;
  assert.equal(asType(asSchema(defineConfig({ steps: 3 }))).steps, 3);
});

test('a resolved configuration is frozen all the way down, and its input is left alone', () => {
  const input = defineConfig({
    train_batch_size: 4,
    optimizer: { type: 'AdamW', params: { betas: [0.9, 0.95] } },
  });
  const config: ResolvedConfig = resolveConfig(input);
  assert.ok(
    Object.isFrozen(config) && Object.isFrozen(config.optimizer) && Object.isFrozen(config.optimizer.params),
  );
  assert.ok(!Object.isFrozen(input.optimizer));
  assert.throws(() => Object.assign(config.mesh, { tensor: 2 }), TypeError);
});

test('resolving what was resolved changes nothing', () => {
  const first = resolveConfig({
    train_batch_size: 12,
    steps: 9,
    scheduler: { type: 'WarmupCosineLR' },
    zero_optimization: { stage: 3 },
  });
  const { data_parallel_size: ranks, ...again } = first;
  assert.equal(ranks, 1);
  assert.deepEqual(resolveConfig(again), first);
});

test('a schedule over the whole run takes its length from steps, unless it has its own', () => {
  const lengthOf = (params: object) => {
    const { scheduler } = resolveConfig({
      train_batch_size: 1,
      steps: 50,
      scheduler: { type: 'WarmupDecayLR', params },
    });
    assert.ok(scheduler?.type === 'WarmupDecayLR');
    return scheduler.params.total_num_steps;
  };
  assert.equal(lengthOf({}), 50);
  assert.equal(lengthOf({ total_num_steps: 70 }), 70);
});

test('a cycle moves the momentum of an optimizer that has one', () => {
  const movesMomentum = (optimizer: UserConfig['optimizer'], cycle_momentum?: boolean) => {
    const params = { cycle_min_lr: 0, cycle_max_lr: 1, cycle_momentum };
    const { scheduler } = resolveConfig({
      train_batch_size: 1,
      ...(optimizer && { optimizer }),
      scheduler: { type: 'OneCycle', params },
    });
    assert.ok(scheduler?.type === 'OneCycle');
    return scheduler.params.cycle_momentum;
  };
  assert.equal(movesMomentum(undefined), true);
  assert.equal(movesMomentum({ type: 'SGD', params: { momentum: 0.9 } }), true);
  assert.equal(movesMomentum({ type: 'SGD' }), false);
  assert.equal(movesMomentum({ type: 'AdamW' }, false), false);
  assert.throws(() => movesMomentum({ type: 'SGD' }, true), /cycle_momentum/);
});

test("the defaults are DeepSpeed's, but for those of which docs/config.md says what DeepSpeed's are", () => {
  const config = resolveConfig({ train_batch_size: 1 });
  assert.equal(config.gradient_clipping, 1);
  assert.deepEqual(config.optimizer, {
    type: 'AdamW',
    params: { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0 },
  });
  assert.deepEqual(config.zero_optimization, {
    stage: 0,
    reduce_bucket_size: 2 ** 22,
    overlap_comm: true,
    stage3_prefetch_bucket_size: 5e7,
    stage3_max_live_parameters: 1e9,
    stage3_max_reuse_distance: 0,
    stage3_param_persistence_threshold: 1e5,
    stage3_model_persistence_threshold: Number.MAX_SAFE_INTEGER,
    zero_quantized_weights: false,
    zero_quantized_gradients: false,
    zero_hpz_partition_size: 1,
    mics_shard_size: -1,
    offload_optimizer: {
      device: 'none',
      buffer_count: 8,
      pin_memory: true,
      pipeline_read: true,
      pipeline_write: true,
      ratio: 1,
      overlap_step: false,
    },
    offload_param: { device: 'none', buffer_count: 1, buffer_size: 1e8, max_in_cpu: 0, pin_memory: true },
    sub_group_size: 2 ** 22,
  });
});

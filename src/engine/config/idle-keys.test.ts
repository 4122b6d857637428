import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveConfig, resolveObject, type UserConfig } from '../config.js';

function notesOf(keys: UserConfig): readonly string[] {
  return resolveObject({ train_batch_size: 1, steps: 50, ...keys }).notes;
}

test('"auto" asks for nothing, so that it may stand where its key has no effect', () => {
  // As the configurations of transformers have it.
  const written = {
    stage: 2,
    stage3_prefetch_bucket_size: 'auto',
    stage3_param_persistence_threshold: 'auto',
  };
  const config = resolveConfig({ train_batch_size: 1, zero_optimization: written as object });
  assert.equal(config.zero_optimization.stage, 2);
});

test('a value that asks for nothing may stand where its key has no effect', () => {
  assert.deepEqual(notesOf({ optimizer: { type: 'SGD', params: { dampening: 0 } } }), []);
});

test('kept inputs may go to the host beside either key that asks for recomputation', () => {
  const base = { train_batch_size: 1, device: 'cuda', activation_checkpointing: { cpu_checkpointing: true } };
  for (const asked of [
    { recompute: { policy: 'always' } },
    { pipeline: { activation_checkpoint_interval: 2 } },
  ] as const) {
    const config = resolveConfig({ ...base, ...asked } as UserConfig);
    assert.equal(config.activation_checkpointing.cpu_checkpointing, true);
  }
  const inert = { train_batch_size: 1, activation_checkpointing: { cpu_checkpointing: false } };
  assert.equal(resolveConfig(inert).activation_checkpointing.cpu_checkpointing, false);
});

test('a learning rate that the schedule passes over is noted, and no other', () => {
  const optimizer = { type: 'AdamW', params: { lr: 3e-4 } } as const;
  const noted = (scheduler: NonNullable<UserConfig['scheduler']>) => notesOf({ optimizer, scheduler }).join();
  assert.match(
    noted({ type: 'WarmupDecayLR' }),
    /optimizer.params.lr 0.0003 has no effect: the schedule WarmupDecayLR goes by warmup_max_lr 0.001/,
  );
  assert.match(noted({ type: 'WarmupLR', params: { warmup_max_lr: 1 } }), /goes by warmup_max_lr 1$/);
  assert.match(
    noted({ type: 'OneCycle', params: { cycle_min_lr: 0.1, cycle_max_lr: 1 } }),
    /goes by cycle_min_lr 0.1 and cycle_max_lr 1$/,
  );
  assert.match(noted({ type: 'LRRangeTest' }), /lr_range_test_min_lr/);
  assert.equal(noted({ type: 'WarmupLR' }), '', 'the schedule goes by it');
  assert.equal(noted({ type: 'WarmupCosineLR' }), '');
  assert.equal(noted({ type: 'WarmupDecayLR', params: { warmup_max_lr: 3e-4 } }), '', 'both say the same');
  assert.deepEqual(notesOf({ scheduler: { type: 'WarmupDecayLR' } }), [], 'nobody gave one');
});

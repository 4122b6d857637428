import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import type { LossScaling } from '../precision/config.js';
import type { LoadedCheckpoint } from '../store/checkpoint.js';
import { TrainingProgress } from './training-progress.js';

const DYNAMIC: LossScaling = {
  kind: 'dynamic',
  initialScale: 1024,
  window: 2,
  hysteresis: 1,
  consecutiveHysteresis: false,
  minimumScale: 1,
};

function checkpoint(step: number, extra: object): Pick<LoadedCheckpoint, 'tag' | 'state'> {
  const state = { step, extra, tensors: [], random: {} } as unknown as LoadedCheckpoint['state'];
  return { tag: `step-${step}`, state };
}

test('what is saved is gone on from, skipped steps and scale included', () => {
  const first = new TrainingProgress(DYNAMIC);
  for (const skipped of [false, true, true, false]) first.count(skipped);
  assert.deepEqual([first.steps, first.skippedSteps, first.updates, first.lossScale], [4, 2, 2, 256]);
  const second = new TrainingProgress(DYNAMIC);
  second.restore(checkpoint(first.steps, first.toSave()));
  for (const each of [first, second]) for (const skipped of [false, false]) each.count(skipped);
  assert.deepEqual(second, first);
  assert.equal(second.lossScale, first.lossScale);
  assert.equal(second.updates, 4);
});

test('a run without a scale of its own says nothing of one', () => {
  const plain = new TrainingProgress({ kind: 'static', scale: 1 });
  plain.count(false);
  assert.deepEqual(plain.toSave(), { skipped_steps: 0 });
  const scaled = new TrainingProgress(DYNAMIC);
  scaled.restore(checkpoint(1, plain.toSave()));
  assert.equal(scaled.lossScale, 1024);
});

test('what no run can have saved is refused, not passed over', () => {
  for (const extra of [{ skipped_steps: 'two' }, { skipped_steps: 4 }, { loss_scaler: { scale: 0 } }]) {
    const progress: TrainingProgress = new TrainingProgress(DYNAMIC);
    assert.throws(
      () => progress.restore(checkpoint(3, extra)),
      (error) => error instanceof TrainyardError && error.code === 'CHECKPOINT_INVALID',
    );
    assert.equal(progress.steps, 0);
  }
});

import assert from 'node:assert/strict';
import { lossScalingOf } from '../src/engine/loss-scaling.js';
import { initialize, resolveConfig, TrainyardError, type UserConfig } from '../src/index.js';
import { initialLossScale, nextLossScale } from '../src/precision/loss-scaler.js';

const LENGTH = 8;

/** How many steps are done until a loss that is not finite ends the run. */
export function stepsUntilDivergence(config: UserConfig): string {
  const engine = initialize({ config });
  const inputIds = Array.from({ length: 8 }, () => Array.from({ length: LENGTH }, (_, id) => id));
  assert.throws(
    () => {
      while (engine.steps < 10) engine.trainBatch({ inputIds });
    },
    { code: 'TRAINING_DIVERGED' },
  );
  const { steps } = engine;
  engine.close();
  return String(steps);
}

/** The loss scale of each step of a run in which some overflow. */
export function lossScales(written: UserConfig): string {
  const { scaling } = lossScalingOf(resolveConfig(written), LENGTH);
  const seen: number[] = [];
  try {
    let state = initialLossScale(scaling);
    for (const overflowed of [1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]) {
      seen.push(state.scale);
      state = nextLossScale(scaling, state, overflowed === 1);
    }
  } catch (error) {
    seen.push(Number.NaN);
    assert.ok(error instanceof TrainyardError);
  }
  return JSON.stringify(seen);
}

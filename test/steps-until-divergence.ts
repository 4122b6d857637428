import assert from 'node:assert/strict';
import { initialize, type UserConfig } from '../src/index.js';

/** How many steps are done until a loss that is not finite ends the run. */
export function stepsUntilDivergence(config: UserConfig): string {
  const engine = initialize({ config });
  const inputIds = Array.from({ length: 8 }, () => [0, 1, 2, 3, 4, 5, 6, 7]);
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

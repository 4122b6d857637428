import assert from 'node:assert/strict';
import type { UserConfig } from '../src/index.js';
import { runRanks } from './run-ranks.js';
import type { ZeroOutcome, ZeroTask } from './zero-program.js';

/**
 * Trains three steps on ranks, of which all must have the same weights in the end.
 *
 * @param config without `model`: one of odd sizes
 */
export async function trainZero(
  ranks: number,
  config: UserConfig,
  task: ZeroTask = {},
): Promise<readonly ZeroOutcome[]> {
  const outcomes = await runRanks<ZeroOutcome>('zero-program.js', ranks, [
    JSON.stringify(config),
    JSON.stringify(task),
  ]);
  assert.equal(new Set(outcomes.map(({ atEnd }) => atEnd)).size, 1, 'the ranks have different weights');
  return outcomes;
}

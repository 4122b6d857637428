import type { ResolvedConfig } from './config.js';

/**
 * Where an optimizer stands that changes its ways on its way (1-bit Adam): before it freezes; about to, with its momentum
 * still in slices; after it.
 */
export type OptimizerPhase = 'warm-up' | 'freezing' | 'frozen';

/**
 * The phase of the update after so many.
 *
 * @param isWhole whether every rank has the whole momentum already
 */
export function optimizerPhase(
  { optimizer, zero_optimization: zero }: ResolvedConfig,
  updates: number,
  isWhole: boolean,
): OptimizerPhase {
  if (optimizer.type !== 'OneBitAdam' || updates < optimizer.params.freeze_step) return 'warm-up';
  return isWhole || zero.stage === 0 ? 'frozen' : 'freezing';
}

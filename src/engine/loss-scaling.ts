import { type LossScaling, precisionOf } from '../precision/config.js';
import type { ResolvedConfig } from './config.js';

/** What each token's loss is multiplied by: a factor that stays, and a scale that may move from step to step. */
export interface RunLossScaling {
  readonly factor: number;
  readonly scaling: LossScaling;
}

const UNSCALED: LossScaling = { kind: 'static', scale: 1 };

/**
 * The scaling of a run's losses. In fp32 and bf16 any factor will do that keeps sums small. In fp16 the scale is
 * that of the mean over the global batch, as in DeepSpeed, as far as it is known: its size with full sequences.
 */
export function lossScalingOf(config: ResolvedConfig, sequenceLength: number): RunLossScaling {
  const precision = precisionOf(config);
  const sequences = config.train_batch_size;
  return precision.dtype === 'float16'
    ? { factor: 1 / (sequences * sequenceLength), scaling: precision.scaling }
    : { factor: 1 / sequences, scaling: UNSCALED };
}

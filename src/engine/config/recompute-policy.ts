import type { CheckedConfig } from './schema.js';

/** The recomputation that a configuration asks for, whichever of the two keys says it. */
export function recomputePolicy({
  recompute,
  pipeline,
}: Pick<CheckedConfig, 'recompute' | 'pipeline'>): CheckedConfig['recompute'] {
  const every = pipeline.activation_checkpoint_interval;
  return every === 0 ? recompute : { policy: 'selected', every, granularity: 'block' };
}

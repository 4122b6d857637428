import type { Redundancy } from '../../redundancy/config.js';
import type { CheckedConfig } from './schema.js';

/** What the ranks have more than once, whichever of two keys says it. */
export function redundancySetting({
  redundancy,
  zero_optimization: { mics_shard_size: size },
}: Pick<CheckedConfig, 'redundancy' | 'zero_optimization'>): Redundancy {
  return size < 2 ? redundancy : { type: 'groups', size };
}

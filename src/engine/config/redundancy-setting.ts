import type { Redundancy } from '../../redundancy/config.js';
import type { CheckedConfig } from './schema.js';

/** What the ranks have more than once, whichever of the keys says it. */
export function redundancySetting(
  config: Pick<CheckedConfig, 'redundancy' | 'zero_optimization'>,
): Redundancy {
  const { mics_shard_size: size, zero_hpz_partition_size: hostSize } = config.zero_optimization;
  if (size > 1) return { type: 'groups', size };
  return hostSize > 1 ? { type: 'secondary', size: hostSize } : config.redundancy;
}

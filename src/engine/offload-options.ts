import type { OffloadStateOptions } from '../offload/offload-state.js';
import type { TierName } from '../step/program.js';
import type { ResolvedConfig } from './config.js';

type OffloadedConfig = Pick<ResolvedConfig, 'zero_optimization' | 'device'>;

/** What a configuration has elsewhere than on the device; undefined for nothing. */
export function offloadOptions(config: OffloadedConfig): OffloadStateOptions | undefined {
  const { offload_optimizer: states, offload_param: weights, sub_group_size } = config.zero_optimization;
  const optimizer = tierOf(config, states.device);
  const parameters = tierOf(config, weights.device);
  if (optimizer === undefined && parameters === undefined) return undefined;
  return {
    ...(optimizer && {
      optimizer: { tier: optimizer, ratio: states.ratio, isDelayed: states.overlap_step },
    }),
    ...(parameters && {
      parameters: {
        tier: parameters,
        mostResident: parameters === 'nvme' ? weights.max_in_cpu : 0,
        blocksAhead: weights.buffer_count,
        elementsAhead: weights.buffer_count * weights.buffer_size,
      },
    }),
    tiles: { count: slotsOf(states), elements: sub_group_size },
  };
}

/** On a CPU run host memory is the device's own. */
function tierOf({ device }: OffloadedConfig, setting: 'none' | 'cpu' | 'nvme'): TierName | undefined {
  switch (setting) {
    case 'none':
      return undefined;
    case 'cpu':
      return device === 'cpu' ? undefined : 'host';
    case 'nvme':
      return 'nvme';
    default:
      return setting satisfies never;
  }
}

/** Tiles that can be in use at once: one is updated, and what goes on beside that needs others. */
function slotsOf(states: ResolvedConfig['zero_optimization']['offload_optimizer']): number {
  const { buffer_count: count, pipeline_read: reads, pipeline_write: writes } = states;
  if (reads) return writes ? count : Math.max(1, count - 1);
  return Math.min(count, writes ? 2 : 1);
}

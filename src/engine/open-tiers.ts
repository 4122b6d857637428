import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { invariant } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { FileTier } from '../offload/tier/file-tier.js';
import { HostTier } from '../offload/tier/host-tier.js';
import type { Tier } from '../offload/tier.js';
import { openStores, type TrainingStores } from '../offload/training-stores.js';
import { optimizerStateNames } from '../optim/optimizer.js';
import type { Program, TierName } from '../step/program.js';
import type { ResolvedConfig } from './config.js';

/**
 * The tiers that a program has training state in, with room for it; undefined where all of it is on the device.
 *
 * @throws TrainyardError OUTPUT_UNUSABLE for a folder that cannot be written or has no room
 */
export function openTiers(
  program: Program,
  config: ResolvedConfig,
  group: Pick<ProcessGroup, 'rank'>,
): TrainingStores | undefined {
  if (program.offload === undefined) return undefined;
  const { offload_optimizer: states, offload_param: weights } = config.zero_optimization;
  const open = (tier: TierName): Tier => {
    switch (tier) {
      case 'host':
        return new HostTier((states.device === 'cpu' ? states : weights).pin_memory);
      case 'nvme': {
        const path = states.nvme_path ?? weights.nvme_path;
        invariant(path, 'the NVMe tier has a folder');
        const folder = join(path, `rank-${group.rank}`);
        mkdirSync(folder, { recursive: true });
        return new FileTier(folder);
      }
      default:
        return tier satisfies never;
    }
  };
  return openStores(program, optimizerStateNames(config.optimizer), open);
}

import { invariant } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { FileTier } from '../offload/tier/file-tier.js';
import { HostTier } from '../offload/tier/host-tier.js';
import type { Tier } from '../offload/tier.js';
import { openStores, type TrainingStores } from '../offload/training-stores.js';
import { createUpdateRule } from '../optim/optimizer.js';
import { initialValues } from '../step/effects/initial-values.js';
import type { Program, TierName } from '../step/program.js';
import { openDirectFolder } from '../store/direct-files/open-folder.js';
import type { ResolvedConfig } from './config.js';

/**
 * The tiers that a program has training state in, with room for it; undefined where all of it is on the device.
 *
 * @throws TrainyardError OFFLOAD_UNUSABLE for a folder that cannot be written or has no room
 */
export function openTiers(
  program: Program,
  config: Pick<ResolvedConfig, 'zero_optimization' | 'optimizer' | 'aio'>,
  group: Pick<ProcessGroup, 'rank'>,
): TrainingStores | undefined {
  if (program.offload === undefined) return undefined;
  const { offload_optimizer: states, offload_param: weights } = config.zero_optimization;
  const open = (tier: TierName): Tier => {
    switch (tier) {
      case 'host':
        return new HostTier((states.device === 'cpu' ? states : weights).pin_memory);
      case 'nvme':
        return openFiles(program, config, group.rank);
      default:
        return tier satisfies never;
    }
  };
  return openStores(program, createUpdateRule(config.optimizer).stateNames, open);
}

/** Room for the files of all ranks of this host is demanded before the first is made. */
function openFiles(
  program: Program,
  { zero_optimization: zero, aio }: Pick<ResolvedConfig, 'zero_optimization' | 'aio'>,
  rank: number,
): Tier {
  const section = zero.offload_optimizer.device === 'nvme' ? 'offload_optimizer' : 'offload_param';
  const { nvme_path: path } = zero[section];
  invariant(path, 'the NVMe tier has a folder');
  const folder = openDirectFolder(path, {
    setting: `zero_optimization.${section}.nvme_path`,
    mark: `rank-${rank}`,
    aio,
  });
  try {
    folder.demandSpace(fileBytes(program) * ranksOnHost(program));
  } catch (error) {
    folder.close();
    throw error;
  }
  return new FileTier(folder);
}

function fileBytes(program: Program): number {
  return initialValues(program).reduce(
    (sum, { memory }) => sum + (memory?.account === 'nvme' ? memory.bytes : 0),
    0,
  );
}

/**
 * With files as long as this rank's; where nothing else is known all are on one host. Ranks of other stages have files of
 * other lengths: one that then finds no room says so when it makes them.
 */
function ranksOnHost({ rank, hosts, groups }: Program): number {
  const alongData = hosts?.find((host) => host.includes(rank))?.length ?? groups.data.length;
  return alongData * (groups.tensor?.length ?? 1);
}

import type { Offloading, Pass, Program, TierName } from '../step/program.js';
import { ownElements } from '../step/sharding.js';
import { evictGradients } from './evict-gradients.js';
import { fetchParameters } from './fetch-parameters.js';

/** What lies elsewhere than on the device, as plain data. */
export interface OffloadStateOptions {
  /** Where the optimizer has its states and masters; absent: on the device. */
  readonly optimizer?: TierName;
  /** Absent: own slices of parameters stay on the device. */
  readonly parameters?: {
    readonly tier: TierName;
    /** Elements of the own slices that stay on the device all the same (DeepSpeed: max_in_cpu). */
    readonly mostResident: number;
    /** Blocks that are fetched before the one that is used next is through (DeepSpeed: buffer_count). */
    readonly blocksAhead: number;
    /** Elements that these may have, all together. */
    readonly elementsAhead: number;
  };
  readonly tiles: {
    readonly count: number;
    /** The most elements of one (DeepSpeed: sub_group_size). */
    readonly elements: number;
  };
}

/**
 * Keeps training state elsewhere than on the device (ZeRO-Offload, ZeRO-Infinity). The optimizer's part concerns no
 * instruction but `step`. Parameters that are released are fetched before they are gathered, as early as there is
 * room for them. Gradients that are released go where the optimizer reads them, as soon as they are summed.
 */
export function offloadState(options: OffloadStateOptions): Pass {
  return (program) => {
    const { sharding } = program;
    if (sharding === undefined) return program;
    const { optimizer, parameters } = options;
    const offload: Offloading = {
      ...(optimizer && { optimizer }),
      ...(optimizer && sharding.gradients === 'released' && { gradients: optimizer }),
      ...(parameters && {
        parameters: { tier: parameters.tier, blocks: fetchedBlocks(program, parameters.mostResident) },
      }),
      tiles: tilesOf(program, options.tiles),
    };
    const described: Program = {
      ...program,
      offload,
      features: [...program.features, ...featuresOf(offload)],
    };
    const passes: readonly Pass[] = [
      ...(parameters ? [fetchParameters(parameters)] : []),
      ...(offload.gradients ? [evictGradients] : []),
    ];
    return passes.reduce((result, pass) => pass(result), described);
  };
}

/** The first blocks stay, as long as there is room for them. */
function fetchedBlocks(program: Program, mostResident: number): readonly number[] {
  let room = mostResident;
  return [...program.blocks.keys()].filter((block) => {
    const elements = ownElements(block, program);
    if (elements === 0) return false;
    if (elements > room) {
      room = 0;
      return true;
    }
    room -= elements;
    return false;
  });
}

/** So that every tile but the last of a slice begins and ends at a page of its file, in 16 bits too. */
const TILE_ALIGNMENT = 2048;

/** No tile is longer than it needs to be for the longest slice, and there are no more than the state is cut into. */
function tilesOf(program: Program, { count, elements }: OffloadStateOptions['tiles']): Offloading['tiles'] {
  const slices = [...program.blocks.keys()].map((block) => ownElements(block, program));
  const wanted = Math.min(elements, Math.max(1, ...slices));
  const longest = Math.ceil(wanted / TILE_ALIGNMENT) * TILE_ALIGNMENT;
  const tiles = slices.reduce((sum, slice) => sum + Math.ceil(slice / longest), 0);
  return { count: Math.min(count, Math.max(1, tiles)), elements: longest };
}

function featuresOf({ optimizer, gradients, parameters }: Offloading): readonly string[] {
  const placed = [
    ['optimizer', optimizer],
    ['gradients', gradients],
    ['parameters', parameters?.tier],
  ] as const;
  return (['host', 'nvme'] as const).flatMap((tier) => {
    const kinds = placed.filter(([, at]) => at === tier).map(([kind]) => kind);
    return kinds.length === 0 ? [] : [`${kinds.join(', ')} on ${tier === 'nvme' ? 'NVMe' : 'the host'}`];
  });
}

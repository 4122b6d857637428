import type { Offloading, Pass, Program, TierName } from '../step/program.js';
import { isOffloaded, offloadedElements, ownElements } from '../step/sharding.js';
import { delayUpdate } from './delay-update.js';
import { evictGradients } from './evict-gradients.js';
import { fetchParameters } from './fetch-parameters.js';
import { updateBeforeUse } from './update-before-use.js';

/** What lies elsewhere than on the device, as plain data. */
export interface OffloadStateOptions {
  /** Where the optimizer has its states and masters; absent: on the device. */
  readonly optimizer?: {
    readonly tier: TierName;
    /** The share of the elements that lies there at least; the blocks of the others have nothing in any tier. */
    readonly ratio: number;
    /** Whether the next step computes with weights that lack the update under it (DeepSpeed: overlap_step). */
    readonly isDelayed: boolean;
  };
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
 * Keeps training state elsewhere than on the device (ZeRO-Offload, ZeRO-Infinity). The update is left to the next step,
 * which makes it block by block. Parameters that are released are fetched before they are gathered, as early as there is
 * room for them. Gradients that are released go where the optimizer reads them, as soon as they are summed.
 */
export function offloadState(options: OffloadStateOptions): Pass {
  return (program) => {
    const { sharding } = program;
    if (sharding === undefined) return program;
    const { optimizer, parameters } = options;
    const all = [...program.blocks.keys()];
    const updated = optimizer === undefined ? all : offloadedBlocks(program, optimizer.ratio);
    const states = optimizer && { tier: optimizer.tier, blocks: updated };
    const offload: Offloading = {
      ...(states && { optimizer: states }),
      ...(states && sharding.gradients === 'released' && { gradients: states }),
      ...(parameters && {
        parameters: {
          tier: parameters.tier,
          blocks: fetchedBlocks(program, parameters.mostResident).filter((block) => updated.includes(block)),
        },
      }),
      updates: optimizer?.isDelayed ? 'delayed' : 'before use',
      tiles: tilesOf(program, updated, options.tiles),
    };
    const described: Program = {
      ...program,
      offload,
      features: [...program.features, ...featuresOf({ ...program, offload }, offload, optimizer?.ratio)],
    };
    const passes: readonly Pass[] = [
      ...(parameters ? [fetchParameters(parameters)] : []),
      ...(offload.gradients ? [evictGradients] : []),
      offload.updates === 'delayed' ? delayUpdate : updateBeforeUse,
    ];
    return passes.reduce((result, pass) => pass(result), described);
  };
}

/**
 * All but those for which there is room in what need not be offloaded, the largest first: of many blocks of equal length
 * nearly all of that room is used.
 */
function offloadedBlocks(program: Program, ratio: number): readonly number[] {
  const lengths = [...program.blocks.keys()].map((block) => ownElements(block, program));
  const owned = lengths.reduce((sum, length) => sum + length, 0);
  let room = (1 - ratio) * owned;
  const resident = new Set<number>();
  for (const [block, length] of [...lengths.entries()].sort(([, left], [, right]) => right - left)) {
    if (length > room) continue;
    room -= length;
    resident.add(block);
  }
  return [...lengths.keys()].filter((block) => !resident.has(block));
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
function tilesOf(
  program: Program,
  blocks: readonly number[],
  { count, elements }: OffloadStateOptions['tiles'],
): Offloading['tiles'] {
  const slices = blocks.map((block) => ownElements(block, program));
  const wanted = Math.min(elements, Math.max(1, ...slices));
  const longest = Math.ceil(wanted / TILE_ALIGNMENT) * TILE_ALIGNMENT;
  const tiles = slices.reduce((sum, slice) => sum + Math.ceil(slice / longest), 0);
  return { count: Math.min(count, Math.max(1, tiles)), elements: longest };
}

function featuresOf(program: Program, offload: Offloading, ratio = 1): readonly string[] {
  const placed = (['optimizer', 'gradients', 'parameters'] as const).map(
    (kind) => [kind, offload[kind]?.tier] as const,
  );
  const tiers = (['host', 'nvme'] as const).flatMap((tier) => {
    const kinds = placed.filter(([, at]) => at === tier).map(([kind]) => kind);
    return kinds.length === 0 ? [] : [`${kinds.join(', ')} on ${tier === 'nvme' ? 'NVMe' : 'the host'}`];
  });
  return [
    ...tiers,
    ...(ratio < 1 ? [shareOf(program)] : []),
    ...(offload.updates === 'delayed' ? ['each update delayed by one step (other mathematics)'] : []),
  ];
}

/** Of blocks, in the first line of a program. */
const MOST_NAMED = 3;

/** How much of the state is not on the device, and which blocks are. */
function shareOf(program: Program): string {
  const resident = [...program.blocks.keys()].filter(
    (block) => ownElements(block, program) > 0 && !isOffloaded('optimizer', block, program),
  );
  if (resident.length === 0)
    return 'all of the state, since no block is as short as the ratio leaves room for';
  const owned = program.trainableElements / program.groups.data.length;
  const percent = Math.round((100 * offloadedElements('optimizer', program)) / owned);
  const names = resident.map((block) => `block.${block}`).join(', ');
  return `${percent} % of the state, without ${resident.length > MOST_NAMED ? `${resident.length} blocks` : names}`;
}

import { invariant } from '../base/errors.js';
import type { OffloadedMemory } from '../step/offloaded-memory.js';
import type { PlacedSlices, Program, TierName } from '../step/program.js';
import { ownElements } from '../step/sharding.js';
import type { DType } from '../tensor/dtype.js';
import type { FlatStore } from '../tensor/flat-store.js';
import type { Tier } from './tier.js';
import { type TierTraffic, TrafficMeter } from './tier-traffic.js';
import { TwinStore } from './twin-store.js';

/** One per block; undefined for one whose slice stays in memory. */
export type BlockStores = readonly (FlatStore | undefined)[];

/** The training state of one rank that is in other tiers: per block, its own slice of each kind. */
export interface TrainingStores extends OffloadedMemory {
  /** fp32 weights, where they are apart from what blocks compute with; absent where they are not, or are in memory. */
  readonly masters?: BlockStores;
  /** What the optimizer keeps, by its names; absent where that is in memory. */
  readonly states?: ReadonlyMap<string, BlockStores>;
  /** Of `gradients` and `parameters` those that are two each, where updates are delayed. */
  readonly twins?: { readonly gradients: readonly TwinStore[]; readonly parameters: readonly TwinStore[] };
  /** What has gone to them and come from them. */
  readonly traffic: TierTraffic;
  close(): void;
}

/**
 * Room for what a program says is offloaded. Everything begins as zeros.
 *
 * @param open opens a tier, which is then closed with the stores
 * @param stateNames what the optimizer keeps
 * @throws TrainyardError OFFLOAD_UNUSABLE where a tier has no room
 */
export function openStores(
  program: Program,
  stateNames: readonly string[],
  open: (tier: TierName) => Tier,
): TrainingStores {
  const { offload, precision } = program;
  invariant(offload, 'stores are for programs with other tiers');
  const traffic = new TrafficMeter();
  const tiers = new Map<TierName, Tier>();
  const tierOf = (name: TierName): Tier => {
    const tier = tiers.get(name) ?? traffic.watch(open(name));
    tiers.set(name, tier);
    return tier;
  };
  const close = (): void => {
    for (const tier of tiers.values()) tier.close();
  };
  const lengths = [...program.blocks.keys()].map((block) => ownElements(block, program));
  const { optimizer, gradients, parameters } = offload;
  const isDelayed = offload.updates === 'delayed';
  const allocate = (placed: PlacedSlices, name: string, dtype: DType = 'float32'): BlockStores => {
    const isStored = (block: number): boolean => placed.blocks.includes(block);
    const stored = lengths.map((length, block) => (isStored(block) ? length : 0));
    return tierOf(placed.tier)
      .allocate(name, stored, dtype)
      .map((store, block) => (isStored(block) ? store : undefined));
  };
  const allocateTwice = (placed: PlacedSlices | undefined, name: string, dtype?: DType): BlockStores => {
    if (placed === undefined) return [];
    const stores = allocate(placed, name, dtype);
    return isDelayed ? paired(stores, allocate(placed, `other ${name}`, dtype)) : stores;
  };
  try {
    const own = {
      parameters: allocateTwice(parameters, 'parameters', precision?.dtype),
      gradients: allocateTwice(gradients, 'gradients'),
    };
    return {
      ...own,
      ...(isDelayed && {
        twins: { parameters: twinsIn(own.parameters), gradients: twinsIn(own.gradients) },
      }),
      ...(optimizer && precision && { masters: allocate(optimizer, 'masters') }),
      ...(optimizer && {
        states: new Map(stateNames.map((name) => [name, allocate(optimizer, name)])),
      }),
      traffic,
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function paired(stores: BlockStores, others: BlockStores): BlockStores {
  return stores.map((store, block) => {
    const other = others[block];
    return store && other && new TwinStore(store, other);
  });
}

function twinsIn(stores: BlockStores): readonly TwinStore[] {
  return stores.filter((store) => store instanceof TwinStore);
}

import { invariant } from '../base/errors.js';
import type { OffloadedMemory } from '../step/offloaded-memory.js';
import type { Program, TierName } from '../step/program.js';
import { isFetched, ownElements } from '../step/sharding.js';
import type { FlatStore } from '../tensor/flat-store.js';
import type { Tier } from './tier.js';
import { type TierTraffic, TrafficMeter } from './tier-traffic.js';

/** The training state of one rank that is in other tiers: per block, its own slice of each kind. */
export interface TrainingStores extends OffloadedMemory {
  /** fp32 weights, where they are apart from what blocks compute with; absent where they are not, or are in memory. */
  readonly masters?: readonly FlatStore[];
  /** What the optimizer keeps, by its names; absent where that is in memory. */
  readonly states?: ReadonlyMap<string, readonly FlatStore[]>;
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
  const allocate = (tier: TierName, name: string): readonly FlatStore[] =>
    tierOf(tier).allocate(name, lengths, 'float32');
  try {
    return {
      parameters: parameters === undefined ? [] : fetchedStores(program, tierOf(parameters.tier), lengths),
      gradients: gradients === undefined ? [] : allocate(gradients, 'gradients'),
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

/** None of blocks that stay in memory. */
function fetchedStores(
  program: Program,
  tier: Tier,
  lengths: readonly number[],
): readonly (FlatStore | undefined)[] {
  const stored = lengths.map((length, block) => (isFetched(block, program) ? length : 0));
  const stores = tier.allocate('parameters', stored, program.precision?.dtype ?? 'float32');
  return stores.map((store, block) => (isFetched(block, program) ? store : undefined));
}

import { elasticBatch } from '../../engine/config/elastic-batch.js';
import { type LoadedConfig, loadConfig } from '../../engine/config.js';

/** The numbers of ranks that a run can have. */
export interface TrainingSizes {
  /** The configuration with all ranks. */
  readonly loaded: LoadedConfig<'model' | 'data' | 'steps'>;
  /** The most first. */
  readonly ranks: readonly number[];
  /** What has to be set so that the global batch is the same on so many of them; nothing on all. */
  batchOn(ranks: number): readonly string[];
}

interface SizedTraining {
  readonly config: string;
  readonly overrides: readonly string[];
  readonly ranks: number;
  readonly leastRanks?: number;
}

/**
 * Resolves a configuration for all ranks, and tries it for fewer: of these a run can have those that divide its global
 * batch evenly and that the rest of its configuration allows.
 *
 * @throws TrainyardError for the configuration with all ranks
 */
export function trainingSizes({
  config,
  overrides,
  ranks,
  leastRanks = ranks,
}: SizedTraining): TrainingSizes {
  const load = (worldSize: number, more: readonly string[] = []) =>
    loadConfig(config, [...overrides, ...more], { worldSize, requires: ['model', 'data', 'steps'] });
  const loaded = load(ranks);
  const { mesh, sequence_parallel_size: sequence } = loaded.config;
  const batchOn = (size: number): readonly string[] | undefined => {
    if (size === ranks) return [];
    const batch = elasticBatch(loaded.config, size / (mesh.pipeline * mesh.tensor * sequence));
    return batch && Object.entries(batch).map(([key, value]) => `${key}=${value}`);
  };
  const isPossible = (size: number): boolean => {
    const batch = batchOn(size);
    if (batch === undefined) return false;
    if (size === ranks) return true;
    try {
      load(size, batch);
      return true;
    } catch {
      return false;
    }
  };
  const fewer = Array.from({ length: ranks - leastRanks + 1 }, (_, index) => ranks - index);
  return { loaded, ranks: fewer.filter(isPossible), batchOn: (size) => batchOn(size) ?? [] };
}

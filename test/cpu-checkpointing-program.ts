import { createHash } from 'node:crypto';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import type { Engine } from '../src/engine/engine.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { allocatedBytes } from '../src/tensor/memory.js';
import { keptOpen } from './kept-open.js';
import { joinAsRank, type RankPlace, worldOf } from './rank-world.js';

/**
 * One rank of the tests of kept inputs in host memory: its arguments are CONFIGS.
 * Trains by each of the configurations, which are for GPUs, on the CPU, whose memory is then both the device's and
 * the host's.
 */
export function run(place: RankPlace, [configsText = '[]']: readonly string[]): unknown {
  const { rank, worldSize } = place;
  const STEPS = 4;

  const { group } = joinAsRank(resolveConfig({ train_batch_size: worldSize }, { worldSize }), place);
  const runs = (JSON.parse(configsText) as readonly UserConfig[]).map(train);
  group.close();
  return { runs };

  function train(written: UserConfig) {
    const config = resolveConfig(written, { worldSize, requires: ['model', 'data'] });
    const source = openModel(config);
    const before = allocatedBytes();
    const engine = buildEngine({
      config: { ...config, device: 'cpu' },
      source,
      world: worldOf(keptOpen(group)),
    });
    const rows = config.train_micro_batch_size_per_gpu * config.gradient_accumulation_steps;
    const length = config.data.sequence_length ?? 0;
    const losses = Array.from({ length: STEPS }, (_, step) => {
      const inputIds = Array.from({ length: rows }, (__, row) =>
        Array.from({ length }, (___, i) => (row * 31 + i * 7 + step + rank) % source.model.vocabularySize),
      );
      return engine.trainBatch({ inputIds }).loss;
    });
    const { features } = engine.program;
    const measured = (engine.measuredPeakBytes()?.[rank] ?? Number.NaN) - before;
    const predicted = engine.predictedPeaks()[rank];
    const weights = fingerprint(engine);
    engine.close();
    return { losses, weights, features, measured, predicted };
  }

  /** Of all parameters, to the last bit. */
  function fingerprint(engine: Engine): string {
    const hash = createHash('sha256');
    for (const name of engine.parameterNames) {
      engine.gathered([name], (tensors) => void hash.update(tensors.get(name)?.toBytes() ?? ''));
    }
    return hash.digest('hex');
  }
}

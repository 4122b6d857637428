import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { allocatedBytes } from '../src/tensor/memory.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

/**
 * One rank of the tests of the ledger: its arguments are CONFIG. Trains until buffers have
 * settled, and says what was predicted and what was measured.
 */
export function run(place: RankPlace, [configText = '{}']: readonly string[]): unknown {
  const { rank, worldSize } = place;
  const STEPS = 4;

  const config = resolveConfig(JSON.parse(configText) as UserConfig, {
    worldSize,
    requires: ['model', 'data'],
  });
  const source = openModel(config);
  const engine = buildEngine({ config, source, world: joinAsRank(config, place) });
  const rows = config.train_micro_batch_size_per_gpu * config.gradient_accumulation_steps;
  const length = config.data.sequence_length ?? 0;
  for (let step = 0; step < STEPS; step += 1) {
    const inputIds = Array.from({ length: rows }, (_, row) =>
      Array.from({ length }, (__, i) => (row * 31 + i * 7 + step + rank) % source.model.vocabularySize),
    );
    engine.trainBatch({ inputIds });
  }
  const measured = engine.measuredPeakBytes()?.[rank];
  const predicted = engine.predictedPeaks()[rank];
  const { features } = engine.program;
  engine.close();
  const left = allocatedBytes();
  return { measured, predicted, features, left };
}

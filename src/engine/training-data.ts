import { env } from '../base/env.js';
import { meshOf, placeOf } from '../comm/mesh.js';
import type { BatchSource } from '../data/batch-source.js';
import { type OpenedDataset, openDataset } from '../data/open-dataset.js';
import type { RankEnvironment } from '../launch/environment.js';
import { defaultSequenceLength } from './compile-step.js';
import type { ConfigWith } from './config.js';
import type { ModelSource } from './model-source.js';

/** The data of a run, and this rank's part of every batch of it. */
export interface TrainingData {
  readonly data: OpenedDataset;
  readonly batches: BatchSource;
}

/**
 * Opens the data of a run; the model decides what the configuration leaves open.
 *
 * @param place of this rank along the data axis
 */
export async function openTrainingData(
  config: ConfigWith<'data'>,
  source: ModelSource,
  place: Pick<RankEnvironment, 'rank' | 'worldSize'>,
): Promise<TrainingData> {
  const data = await openDataset(config.data, {
    baseDirectory: process.cwd(),
    cacheDirectory: env.cacheDirectory,
    modelDirectory: source.folder?.path,
    vocabularySize: source.model.vocabularySize,
    defaultSequenceLength: defaultSequenceLength(source.model),
    maximumSequenceLength: source.model.maximumLength,
    seed: config.seed,
  });
  const batches = data.batches({
    rank: place.rank,
    worldSize: place.worldSize,
    microBatchSize: config.train_micro_batch_size_per_gpu,
    gradientAccumulationSteps: config.gradient_accumulation_steps,
  });
  return { data, batches };
}

/** Which part of every batch a rank takes, and of how many: ranks that differ along the data axis take their own. */
export function dataPlace(
  { mesh, data_parallel_size: worldSize }: Pick<ConfigWith<never>, 'mesh' | 'data_parallel_size'>,
  environment: Pick<RankEnvironment, 'rank' | 'worldSize'>,
): Pick<RankEnvironment, 'rank' | 'worldSize'> {
  return { rank: placeOf(meshOf(mesh, environment.worldSize), environment.rank).data, worldSize };
}

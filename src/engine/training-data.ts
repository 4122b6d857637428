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
  place: Place,
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

/** A rank of the world, or a place among so many. */
type Place = Pick<RankEnvironment, 'rank' | 'worldSize'>;

/** Which part of every batch a rank of the world takes, and of how many. */
export function dataPlace(
  config: Pick<ConfigWith<never>, 'mesh' | 'sequence_parallel_size'>,
  { rank, worldSize }: Place,
): Place {
  const mesh = meshOf(config.mesh, worldSize);
  return batchPlace(config, { rank: placeOf(mesh, rank).data, worldSize: mesh.data });
}

/** The same of a rank along the data axis: those that share sequences take the same part. */
export function batchPlace(
  { sequence_parallel_size: sharing }: Pick<ConfigWith<never>, 'sequence_parallel_size'>,
  { rank, worldSize }: Place,
): Place {
  return { rank: Math.floor(rank / sharing), worldSize: worldSize / sharing };
}

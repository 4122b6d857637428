import { TrainyardError } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { MicroBatchData } from '../data/batch-source.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { ResolvedConfig } from './config.js';
import type { ModelSource } from './model-source.js';
import { openTrainingData } from './training-data.js';

/** The data of a run, cut into the batches of its steps. */
export interface EngineData {
  /** The tokenizer of the data, or of the model's folder; absent for ready ids without either. */
  readonly tokenizer: Tokenizer | undefined;
  /** Tokens in a sequence. */
  readonly sequenceLength: number;
  /** Sequences in an epoch. */
  readonly sequences: number;
  /**
   * This rank's part of the batch of a step, counted from 0: its micro-batches by their number. A pure function,
   * so that a resumed run goes on with the right sequences.
   */
  batch(step: number): (micro: number) => MicroBatchData;
}

/** Opens the data that a configuration names, for a rank of the group. */
export async function openEngineData(
  config: ResolvedConfig,
  source: ModelSource,
  { rank, worldSize }: Pick<ProcessGroup, 'rank' | 'worldSize'>,
): Promise<EngineData> {
  if (config.data === undefined) {
    throw new TrainyardError('CONFIG_INVALID', {
      what: 'data is missing.',
      where: 'data',
      cure: 'Add "data": {"path": "corpus/**/*.txt"} to the configuration, or call trainBatch with sequences.',
    });
  }
  const { data, batches } = await openTrainingData({ ...config, data: config.data }, source, {
    rank,
    worldSize,
  });
  return {
    tokenizer: data.tokenizer,
    sequenceLength: batches.sequenceLength,
    sequences: batches.samples,
    batch: (step) => (micro) => batches.microBatch(step, micro),
  };
}

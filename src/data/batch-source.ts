import { invariant } from '../base/errors.js';
import type { Sampler } from './sampler.js';
import type { SequenceDataset } from './sequence-dataset.js';

/** One micro-batch of one rank, as flat row-major arrays of libtorch's index type. */
export interface MicroBatchData {
  /** `[rows × length]` */
  readonly inputIds: BigInt64Array;
  /** `[rows × length]`: already shifted; −100 where a position has no target. */
  readonly labels: BigInt64Array;
  readonly rows: number;
  readonly length: number;
  /** How many labels are targets: what the mean of the loss divides by. */
  readonly targetTokens: number;
  /** The number, in the dataset, of each row. */
  readonly sampleIndexes: readonly number[];
}

/** The batches of a run, by step: asking twice gives the same, and nothing has to be asked in order. */
export interface BatchSource {
  /** Tokens in a row. */
  readonly sequenceLength: number;
  /** Sequences in an epoch. */
  readonly samples: number;
  microBatch(step: number, micro: number): MicroBatchData;
  /** The targets of the whole global batch of a step, over all ranks and micro-batches. */
  targetTokens(step: number): number;
}

/** Which part of every global batch is wanted, and how it is cut. */
export interface BatchSlice {
  readonly rank: number;
  readonly worldSize: number;
  /** Rows of one micro-batch of one rank. */
  readonly microBatchSize: number;
  /** Micro-batches of a step: the global batch is their number × rows × world size. */
  readonly gradientAccumulationSteps: number;
}

/**
 * Cuts the stream of samples into batches. Step s has the samples [s·B, (s + 1)·B) of the stream, whatever the
 * world size; its micro-batch m gives each rank in turn the next `microBatchSize` of them.
 */
export function createBatchSource(
  dataset: SequenceDataset,
  sampler: Sampler,
  slice: BatchSlice,
): BatchSource {
  const { rank, worldSize, microBatchSize, gradientAccumulationSteps } = slice;
  invariant(rank >= 0 && rank < worldSize, `rank ${rank} of ${worldSize}`);
  const microBatchOfAllRanks = microBatchSize * worldSize;
  const globalBatch = microBatchOfAllRanks * gradientAccumulationSteps;
  return {
    sequenceLength: dataset.sequenceLength,
    samples: dataset.length,
    microBatch(step, micro) {
      invariant(micro >= 0 && micro < gradientAccumulationSteps, `micro-batch ${micro}`);
      const start = step * globalBatch + micro * microBatchOfAllRanks + rank * microBatchSize;
      return readRows(
        dataset,
        Array.from({ length: microBatchSize }, (_, row) => sampler.indexAt(start + row)),
      );
    },
    targetTokens(step) {
      let targets = 0;
      for (let row = 0; row < globalBatch; row++) {
        targets += dataset.targetTokens(sampler.indexAt(step * globalBatch + row));
      }
      return targets;
    },
  };
}

function readRows(dataset: SequenceDataset, sampleIndexes: readonly number[]): MicroBatchData {
  const length = dataset.sequenceLength;
  const inputIds = new BigInt64Array(sampleIndexes.length * length);
  const labels = new BigInt64Array(sampleIndexes.length * length);
  let targetTokens = 0;
  for (const [row, index] of sampleIndexes.entries()) {
    const sequence = dataset.get(index);
    widenInto(inputIds, row * length, sequence.inputIds);
    widenInto(labels, row * length, sequence.labels);
    targetTokens += dataset.targetTokens(index);
  }
  return { inputIds, labels, rows: sampleIndexes.length, length, targetTokens, sampleIndexes };
}

/** Sign-extends 32 to 64 bits by halves (little-endian), without a BigInt for every value. */
function widenInto(target: BigInt64Array, start: number, values: Int32Array): void {
  const halves = new Int32Array(target.buffer, target.byteOffset + start * 8, values.length * 2);
  for (let at = 0; at < values.length; at++) {
    const value = values[at] ?? 0;
    halves[2 * at] = value;
    halves[2 * at + 1] = value < 0 ? -1 : 0;
  }
}

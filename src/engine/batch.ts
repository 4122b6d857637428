import { TrainyardError } from '../base/errors.js';
import type { MicroBatchData } from '../data/batch-source.js';
import type { MicroBatch } from '../nn/block.js';
import { tensor } from '../tensor/create.js';
import type { Device } from '../tensor/dtype.js';
import { scope } from '../tensor/tensor.js';

/** Sequences of equal length, as a program in TypeScript gives them. */
export interface Batch {
  readonly inputIds: readonly (readonly number[])[];
  /** The target of each position, -100 where there is none. Left out: the next token of the sequence. */
  readonly labels?: readonly (readonly number[])[];
}

/** The label of a position that has no target, as in PyTorch. */
const IGNORED_LABEL = -100;

/**
 * Cuts the sequences of one rank into its micro-batches.
 *
 * @throws TrainyardError DATA_INVALID when their number or their lengths do not fit.
 */
export function cutBatch(batch: Batch, microBatchSize: number, microBatches: number): MicroBatchData[] {
  const { inputIds, labels = inputIds.map(shifted) } = batch;
  const length = inputIds[0]?.length ?? 0;
  const rows = microBatchSize * microBatches;
  if (inputIds.length !== rows || labels.length !== rows) {
    throw wrongBatch(
      `${rows} sequences: ${microBatchSize} per micro-batch × ${microBatches} micro-batches on this rank`,
      `${inputIds.length} sequences and ${labels.length} rows of labels`,
    );
  }
  const odd = [...inputIds, ...labels].find((row) => row.length !== length);
  if (odd !== undefined) throw wrongBatch(`rows of ${length} ids, as the first`, `a row of ${odd.length}`);
  return Array.from({ length: microBatches }, (_, micro) => {
    const range = [micro * microBatchSize, (micro + 1) * microBatchSize] as const;
    const targets = labels.slice(...range).flat();
    return {
      inputIds: BigInt64Array.from(inputIds.slice(...range).flat(), BigInt),
      labels: BigInt64Array.from(targets, BigInt),
      rows: microBatchSize,
      length,
      targetTokens: targets.filter((label) => label !== IGNORED_LABEL).length,
      sampleIndexes: [],
    };
  });
}

/** The tensors of a micro-batch, on the device. */
export function toDevice(data: MicroBatchData, device: Device): MicroBatch {
  const shape = [data.rows, data.length];
  const place = (values: BigInt64Array) =>
    scope(() => (device === 'cpu' ? tensor(values, shape) : tensor(values, shape).toDevice(device, 'int64')));
  return { inputIds: place(data.inputIds), labels: place(data.labels) };
}

function shifted(ids: readonly number[]): readonly number[] {
  return [...ids.slice(1), IGNORED_LABEL];
}

function wrongBatch(expected: string, got: string): TrainyardError {
  return new TrainyardError('DATA_INVALID', {
    what: 'A batch does not have the shape that the configuration says.',
    expected,
    got,
  });
}

import { TrainyardError } from '../base/errors.js';
import type { MicroBatchData } from '../data/batch-source.js';
import type { MicroBatch, Model } from '../nn/block.js';
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

/** What a model asks of a batch. */
type BatchLimits = Pick<Model, 'vocabularySize' | 'maximumLength'>;

/**
 * Cuts the sequences of one rank into its micro-batches.
 *
 * @throws TrainyardError DATA_INVALID when their number or their lengths do not fit, or an id or a label is not one
 * of the vocabulary.
 */
export function cutBatch(
  batch: Batch,
  limits: BatchLimits,
  microBatchSize: number,
  microBatches: number,
): MicroBatchData[] {
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
  checkLength(length, batch.labels === undefined, limits.maximumLength);
  checkIds('inputIds', inputIds, limits.vocabularySize);
  if (batch.labels !== undefined) checkIds('labels', labels, limits.vocabularySize, IGNORED_LABEL);
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

/** The next token as the label leaves a sequence of one token without any. */
function checkLength(length: number, isShifted: boolean, maximum: number | undefined): void {
  const shortest = isShifted ? 2 : 1;
  if (length < shortest) throw wrongBatch(`sequences of at least ${shortest} ids`, `${length}`);
  if (maximum !== undefined && length > maximum) {
    throw wrongBatch(`sequences of at most ${maximum} ids, the model's longest`, `${length}`);
  }
}

function checkIds(
  name: string,
  rows: readonly (readonly number[])[],
  vocabularySize: number,
  exception?: number,
): void {
  for (const [row, ids] of rows.entries()) {
    const position = ids.findIndex(
      (id) => !(Number.isInteger(id) && id >= 0 && id < vocabularySize) && id !== exception,
    );
    if (position === -1) continue;
    const or = exception === undefined ? '' : `, or ${exception} for none`;
    throw new TrainyardError('DATA_INVALID', {
      what: 'A batch has a token id that is not in the vocabulary.',
      where: `${name}[${row}][${position}]`,
      expected: `an integer from 0 to ${vocabularySize - 1}${or}`,
      got: String(ids[position]),
      cure: 'encode the text with the tokenizer that belongs to the model',
    });
  }
}

function wrongBatch(expected: string, got: string): TrainyardError {
  return new TrainyardError('DATA_INVALID', {
    what: 'A batch does not have the shape that model and configuration say.',
    expected,
    got,
  });
}

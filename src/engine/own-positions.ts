import { TrainyardError } from '../base/errors.js';
import type { MicroBatchData } from '../data/batch-source.js';
import type { SequenceAxis } from '../nn/sequence-axis.js';
import type { ResolvedConfig } from './config.js';
import type { MicroBatchShape } from './measure-blocks.js';

/** The label of a position that has no target, as in PyTorch. */
const IGNORED_LABEL = -100n;

/** What a rank has of a micro-batch of sequences of this length: of a length that does not divide, the longest part. */
export function ownShape(
  {
    train_micro_batch_size_per_gpu: rows,
    sequence_parallel_size: ranks,
  }: Pick<ResolvedConfig, 'train_micro_batch_size_per_gpu' | 'sequence_parallel_size'>,
  sequenceLength: number,
): MicroBatchShape {
  return { rows, length: Math.ceil(sequenceLength / ranks) };
}

/**
 * This rank's positions of whole sequences. Labels are shifted before, so that the last one of a part is the first id
 * of the next.
 *
 * @param axis left out: sequences stay whole
 * @throws TrainyardError DATA_INVALID for a length that does not divide
 */
export function ownPositions(
  data: MicroBatchData,
  axis: Pick<SequenceAxis, 'rank' | 'size'> | undefined,
): MicroBatchData {
  if (axis === undefined) return data;
  if (data.length % axis.size !== 0) throw indivisible(data.length, axis.size);
  const length = data.length / axis.size;
  const cut = (values: BigInt64Array): BigInt64Array => {
    const own = new BigInt64Array(data.rows * length);
    for (let row = 0; row < data.rows; row += 1) {
      const start = row * data.length + axis.rank * length;
      own.set(values.subarray(start, start + length), row * length);
    }
    return own;
  };
  const labels = cut(data.labels);
  const targetTokens = labels.filter((label) => label !== IGNORED_LABEL).length;
  return { ...data, inputIds: cut(data.inputIds), labels, length, targetTokens };
}

function indivisible(length: number, ranks: number): TrainyardError {
  return new TrainyardError('DATA_INVALID', {
    what: 'The positions of a sequence cannot be divided over the ranks that share it.',
    where: 'sequence_parallel_size',
    expected: `sequences whose length is a multiple of ${ranks}`,
    got: `${length} ids`,
    cure: `Set data.sequence_length to a multiple of ${ranks}, or give batches of such sequences.`,
  });
}

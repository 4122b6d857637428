/** The sizes of one optimizer step, which always satisfy train = micro × accumulation × data-parallel. */
export interface BatchSizes {
  /** Sequences per optimizer step, over all ranks. */
  readonly train_batch_size: number;
  /** Sequences per forward pass of one rank. */
  readonly train_micro_batch_size_per_gpu: number;
  /** Micro-batches per optimizer step. */
  readonly gradient_accumulation_steps: number;
  /** Ranks, or groups that share sequences, that each take their own part of the batch: world size / (pipeline × tensor × sequence_parallel_size). */
  readonly data_parallel_size: number;
}

/** The three sizes as given; two of them suffice, and so does one of the first two. */
export interface GivenBatchSizes {
  readonly train_batch_size?: number | undefined;
  readonly train_micro_batch_size_per_gpu?: number | undefined;
  readonly gradient_accumulation_steps?: number | undefined;
}

/** Why the given sizes fit no step: the key to blame, and values of it that would. */
export interface BatchConflict {
  readonly key: keyof GivenBatchSizes;
  readonly what: string;
  readonly expected: string;
  readonly cure: string;
}

/**
 * Completes the batch sizes by DeepSpeed's rule (runtime/config.py): the missing ones follow from those
 * given, and accumulation is 1 where it is left open. DeepSpeed rounds down and then fails an assertion; here
 * sizes that do not divide are a conflict that lists the values that do.
 */
export function completeBatchSizes(given: GivenBatchSizes, dataParallel: number): BatchSizes | BatchConflict {
  const train = given.train_batch_size;
  const micro = given.train_micro_batch_size_per_gpu;
  if (train === undefined) {
    if (micro === undefined) return nothingGiven();
    const accumulation = given.gradient_accumulation_steps ?? 1;
    return sizes(micro * accumulation * dataParallel, micro, accumulation, dataParallel);
  }
  if (micro === undefined) {
    const accumulation = given.gradient_accumulation_steps ?? 1;
    const fitting = train / (accumulation * dataParallel);
    if (Number.isInteger(fitting)) return sizes(train, fitting, accumulation, dataParallel);
    return trainDoesNotDivide(train, { accumulation: given.gradient_accumulation_steps }, dataParallel);
  }
  const accumulation = given.gradient_accumulation_steps ?? train / (micro * dataParallel);
  if (Number.isInteger(accumulation) && micro * accumulation * dataParallel === train) {
    return sizes(train, micro, accumulation, dataParallel);
  }
  return trainDoesNotDivide(train, { micro, accumulation: given.gradient_accumulation_steps }, dataParallel);
}

/** Whether completing the sizes failed. */
export function isBatchConflict(result: BatchSizes | BatchConflict): result is BatchConflict {
  return 'what' in result;
}

function sizes(train: number, micro: number, accumulation: number, dataParallel: number): BatchSizes {
  return {
    train_batch_size: train,
    train_micro_batch_size_per_gpu: micro,
    gradient_accumulation_steps: accumulation,
    data_parallel_size: dataParallel,
  };
}

function nothingGiven(): BatchConflict {
  return {
    key: 'train_batch_size',
    what: 'The batch size is missing.',
    expected:
      'train_batch_size or train_micro_batch_size_per_gpu (or two of the three with gradient_accumulation_steps)',
    cure: 'Add "train_batch_size": 16, for example.',
  };
}

function trainDoesNotDivide(
  train: number,
  { micro, accumulation }: { readonly micro?: number; readonly accumulation: number | undefined },
  dataParallel: number,
): BatchConflict {
  const unit = (micro ?? 1) * (accumulation ?? 1) * dataParallel;
  const factors = [
    micro === undefined ? 'micro' : `micro ${micro}`,
    accumulation === undefined ? 'accumulation' : `accumulation ${accumulation}`,
    `${dataParallel} data-parallel ${dataParallel === 1 ? 'rank' : 'ranks'}`,
  ].join(' × ');
  const exact = micro !== undefined && accumulation !== undefined;
  return {
    key: 'train_batch_size',
    what: `The batch sizes do not fit: train_batch_size ${train} is not ${factors}${exact ? ` = ${unit}` : ''}.`,
    expected: exact
      ? `train_batch_size ${unit}`
      : `train_batch_size a multiple of ${unit}: ${nearestMultiples(train, unit)}`,
    cure: cureFor(train, micro, accumulation, dataParallel),
  };
}

function nearestMultiples(train: number, unit: number): string {
  const below = Math.floor(train / unit) * unit;
  return [below, below + unit, below + 2 * unit].filter((size) => size > 0).join(', ');
}

function cureFor(
  train: number,
  micro: number | undefined,
  accumulation: number | undefined,
  dataParallel: number,
): string {
  if (train % dataParallel !== 0) {
    return `No micro-batch fits, since ${dataParallel} ranks do not divide ${train}: change train_batch_size or the number of ranks.`;
  }
  const perRank = train / dataParallel;
  if (micro === undefined) return `Set gradient_accumulation_steps to one of ${divisors(perRank)}.`;
  if (accumulation !== undefined) return 'Remove one of the three sizes: it follows from the other two.';
  return `Set train_micro_batch_size_per_gpu to one of ${divisors(perRank)}.`;
}

function divisors(number: number): string {
  const most = 12;
  const found: number[] = [];
  for (let divisor = 1; divisor <= Math.min(number, 4096); divisor++)
    if (number % divisor === 0) found.push(divisor);
  return found.length <= most ? found.join(', ') : `${found.slice(0, most).join(', ')}, …`;
}

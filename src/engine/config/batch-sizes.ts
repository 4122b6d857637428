/** The sizes of one optimizer step, which always satisfy train = micro × accumulation × data-parallel. */
export interface BatchSizes {
  /** Sequences per optimizer step, over all ranks. */
  readonly train_batch_size: number;
  /** Sequences per forward pass of one rank. */
  readonly train_micro_batch_size_per_gpu: number;
  /** Micro-batches per optimizer step. */
  readonly gradient_accumulation_steps: number;
  /** Ranks that each take their own part of the batch: world size / (pipeline × tensor). */
  readonly data_parallel_size: number;
}

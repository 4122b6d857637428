import type { ResolvedConfig } from './config.js';

/**
 * How many ranks lie along the data axis: those that divide the training state and sum their gradients. Of them
 * `sequence_parallel_size` at a time count once in `data_parallel_size`, since they take the same sequences.
 */
export function dataRanks({
  data_parallel_size: groups,
  sequence_parallel_size: ranks,
}: Pick<ResolvedConfig, 'data_parallel_size' | 'sequence_parallel_size'>): number {
  return groups * ranks;
}

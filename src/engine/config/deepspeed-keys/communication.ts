import type { KeyTable } from '../key-table.js';
import { dead, later, off, section } from '../key-table.js';

/** Gradients on the wire, beside what `src/comm/config.ts` and `src/zero/config.ts` declare; file I/O. */
export const communicationKeys: KeyTable = {
  prescale_gradients: off(false, 'gradients are scaled once, before the sum'),
  gradient_predivide_factor: off(1.0, 'gradients are scaled once, before the sum'),
  gradient_allreduce_op: off('mean', 'the loss is the mean over the global batch'),
  sparse_gradients: off(false, 'embedding gradients are dense'),
  seq_parallel_communication_data_type: off(
    'fp32',
    'gradients of shared sequences travel as all do: communication_data_type',
  ),
  data_parallel_size: later(null, 'data parallelism takes what mesh leaves'),
  graph_harvesting: off(false, 'CUDA graphs are not here yet'),
  disable_allgather: dead(false, 'no code reads it'),
  aio: section({
    thread_count: dead(1, 'documented; the code reads intra_op_parallelism'),
    use_gds: off(false, 'GPUDirect Storage is not here'),
  }),
};

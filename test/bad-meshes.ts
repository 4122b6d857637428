import type { BadConfiguration } from './bad-configurations.js';

/** Makes a row of what is impossible together: a name, keys, the number of ranks, and what the error must say. */
type MakeRow = (name: string, keys: object, ranks: number, ...says: string[]) => BadConfiguration;

/** What the axes of a mesh do not go together with. */
export function badMeshes(row: MakeRow): BadConfiguration[] {
  return [
    row('more tensor ranks than ranks', { mesh: { tensor: 2 } }, 1, 'mesh', 'tensor 2'),
    row('the same by its name in DeepSpeed', { tensor_parallel: { autotp_size: 2 } }, 3, 'mesh', 'tensor 2'),
    row(
      'two sizes of one axis',
      { mesh: { tensor: 3 }, tensor_parallel: { autotp_size: 2 } },
      6,
      'tensor_parallel.autotp_size',
    ),
    row(
      'positions of whole layers',
      { mesh: { sequence_parallel: true } },
      2,
      'sequence_parallel',
      'no effect',
    ),
    row(
      'positions that do not divide',
      { mesh: { tensor: 2, sequence_parallel: true }, data: { path: 'x.txt', sequence_length: 33 } },
      2,
      'data.sequence_length',
      'a multiple of 2',
    ),
    row(
      'an adapter on divided matrices',
      { mesh: { tensor: 2 }, adapter: { type: 'lora', targets: 'all-linear' } },
      2,
      'adapter',
      'mesh.tensor 2',
    ),
    row(
      'one bit where matrices are divided',
      { mesh: { tensor: 2 }, communication: { compression: 'one-bit' } },
      4,
      'communication.compression',
    ),
    row(
      'a momentum where matrices are divided',
      { mesh: { tensor: 2 }, optimizer: { type: 'OneBitAdam' } },
      4,
      'optimizer.type',
    ),
    row(
      'quantized sums of hosts where matrices are divided',
      { mesh: { tensor: 2 }, zero_optimization: { stage: 3, zero_quantized_gradients: true } },
      4,
      'zero_quantized_gradients',
    ),
    row(
      'replicas that are divided, by the name in DeepSpeed',
      { tensor_parallel: { autotp_size: 2 }, redundancy: { type: 'local' } },
      4,
      'mesh',
      'tensor 2',
    ),
    row('more stages than ranks', { mesh: { pipeline: 2 } }, 3, 'mesh', 'pipeline 2'),
    row('a schedule of one stage', { pipeline: { schedule: 'gpipe' } }, 1, 'pipeline.schedule', 'no effect'),
    row(
      'a division into one stage',
      { pipeline: { partition: 'uniform' } },
      1,
      'pipeline.partition',
      'no effect',
    ),
    row(
      'chunks that the schedule does not have',
      { mesh: { pipeline: 2 }, pipeline: { chunks: 2 } },
      2,
      'pipeline.chunks',
      'interleaved',
    ),
    row(
      'one chunk to take turns with',
      { mesh: { pipeline: 2 }, pipeline: { schedule: 'interleaved' } },
      2,
      'pipeline.chunks',
    ),
    row(
      'parts that are no stages',
      { mesh: { pipeline: 2 }, pipeline: { partition: [1, 1, 1] } },
      2,
      'pipeline.partition',
      '2 numbers',
    ),
    row(
      'an adapter on stages',
      { mesh: { pipeline: 2 }, adapter: { type: 'lora', targets: 'all-linear' } },
      2,
      'adapter',
      'mesh.pipeline 2',
    ),
  ];
}

import { z } from 'zod';
import { positiveInteger } from '../base/schema.js';
import { FILE_ALIGNMENT } from './direct-files/alignment.js';

/** The `aio` key, by DeepSpeed's names: how files of offloaded memory are read and written. */
export const aioSchema = z
  .strictObject({
    block_size: positiveInteger()
      .multipleOf(FILE_ALIGNMENT)
      .default(1_048_576)
      .describe('Bytes that the disk is asked for at once; a multiple of 4096.'),
    queue_depth: positiveInteger()
      .max(1024)
      .default(8)
      .describe('Requests under way at once on each thread; without io_uring a thread for each.'),
    intra_op_parallelism: positiveInteger()
      .max(64)
      .default(1)
      .describe('Threads that hand requests to the disk.'),
    single_submit: z
      .boolean()
      .default(false)
      .describe('Hand every request to the kernel by a call of its own; with io_uring only.'),
    overlap_events: z
      .boolean()
      .default(true)
      .describe('Ask for more as soon as one request ends, not when all have; with io_uring only.'),
  })
  .prefault({})
  .describe('How files of offloaded memory are read and written.');

/** The `aio` slice with its defaults filled in. */
export type AioConfig = Readonly<z.output<typeof aioSchema>>;

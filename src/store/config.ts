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
      .default(32)
      .describe(
        "Requests under way at once on each thread; without io_uring a thread for each. DeepSpeed's default of 8 keeps fewer " +
          'disks busy.',
      ),
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

/** The `checkpoint` key: when and how a run saves what it can go on from. See docs/checkpoints.md. */
export const checkpointSchema = z
  .strictObject({
    interval: positiveInteger()
      .optional()
      .describe('Save every so many steps, beside the end of the run. Left out: only then.'),
    keep: z
      .int()
      .min(2)
      .optional()
      .describe(
        'How many checkpoints stay: older ones are removed once a new one has been read back and has its name. ' +
          'Left out: all.',
      ),
    replicate: z
      .boolean()
      .default(false)
      .describe(
        'Keep a copy of the state after every step in the memory of the host, outside the ranks: those that start again ' +
          'after a loss read no disk and lose no step. It takes twice the memory of what a checkpoint holds.',
      ),
    on_failure: z
      .enum(['stop', 'warn'])
      .default('stop')
      .describe(
        'What becomes of the run when a checkpoint cannot be written: it stops, or goes on with a warning.',
      ),
    tag_validation: z
      .enum(['Warn', 'Ignore', 'Fail'])
      .default('Warn')
      .describe(
        'What happens when ranks ask for checkpoints of different names (`engine.save`): rank 0 decides, with a ' +
          'warning or without, or it is an error.',
      ),
    writer: z
      .strictObject({
        decoupled: z
          .boolean()
          .default(false)
          .describe(
            'Copy what is to be saved, and let a thread write it while training goes on. The copy takes as much ' +
              'memory as what a rank saves.',
          ),
      })
      .prefault({})
      .describe('How checkpoints are written.'),
  })
  .prefault({})
  .describe('When and how checkpoints are saved. See docs/checkpoints.md.');

export type CheckpointConfig = z.output<typeof checkpointSchema>;

import { z } from 'zod';
import { nonEmptyText, nonNegativeInteger, positiveInteger } from '../base/schema.js';

const device = z
  .enum(['none', 'cpu', 'nvme'])
  .default('none')
  .describe(
    'Where it lies: "none", on the device; "cpu", in host memory, which on a CPU run is the same; "nvme", in files.',
  );

const nvmePath = nonEmptyText()
  .optional()
  .describe(
    'The folder for the files, on a fast local disk; needed with "nvme". They are removed at the end.',
  );

const pinMemory = z
  .boolean()
  .default(true)
  .describe('For GPUs: keep what lies on the host on locked pages, which are copied faster.');

const offloadOptimizerSchema = z
  .strictObject({
    device,
    nvme_path: nvmePath,
    buffer_count: positiveInteger()
      .default(8)
      .describe(
        'Tiles of the update in memory at once, half of which are read ahead and half written, so that the disk works while ' +
          "blocks compute; with 3 one is read, one updated and one written. DeepSpeed's counts single tensors, of which its tile has 4.",
      ),
    pin_memory: pinMemory,
    pipeline_read: z
      .boolean()
      .default(true)
      .describe(
        "Read the next tiles while one is updated. DeepSpeed's default is false, which hides nothing.",
      ),
    pipeline_write: z
      .boolean()
      .default(true)
      .describe('Write a tile while the next ones are updated; see `pipeline_read`.'),
    ratio: z
      .number()
      .gt(0)
      .max(1)
      .default(1)
      .describe(
        'The share of the training state that lies there, at least, in whole blocks. The others stay on the device and are ' +
          'updated there while tiles are read and written (Twin-Flow).',
      ),
    overlap_step: z
      .boolean()
      .default(false)
      .describe(
        'Make the update of a step under the forward and backward of the next, which then computes with the weights from ' +
          'before it. This changes the mathematics: gradients are one update old. Needs stage 2 or 3.',
      ),
  })
  .prefault({})
  .describe(
    'Where the states of the optimizer and, where blocks compute in 16 bits, its fp32 weights lie; from stage 2 on the ' +
      "gradients of a rank's own slices too. Needs ZeRO; weights end the same to the last bit.",
  );

const offloadParamSchema = z
  .strictObject({
    device,
    nvme_path: nvmePath,
    buffer_count: positiveInteger()
      .default(1)
      .describe(
        "Blocks that are read before the one that computes is through. DeepSpeed's default of 5 counts parameters.",
      ),
    buffer_size: positiveInteger()
      .default(100_000_000)
      .describe('Elements that each of these may have, on average. What one block needs it gets.'),
    max_in_cpu: nonNegativeInteger()
      .default(0)
      .describe(
        "Elements of a rank's own slices that stay in memory all the same, of the first blocks. DeepSpeed's default of " +
          '1e9 keeps most models in memory.',
      ),
    pin_memory: pinMemory,
  })
  .prefault({})
  .describe("Stage 3: where a rank's own slices of the parameters lie between their uses.");

/** What DeepSpeed's `zero_optimization` says of other tiers. */
export const offloadShape = {
  offload_optimizer: offloadOptimizerSchema,
  offload_param: offloadParamSchema,
  sub_group_size: positiveInteger()
    .default(4_194_304)
    .describe(
      'The most elements of a tile, by which the update goes through what is offloaded: 16 MiB of each kind of tensor. ' +
        "DeepSpeed's default is 1e9.",
    ),
};

/** The `memory_limit` key. */
export const memoryLimitSchema = positiveInteger()
  .optional()
  .describe(
    'The most bytes of memory that a rank may take. A run whose program would take more is refused before it begins, ' +
      'with what is missing and the keys that would help. Left out: no limit.',
  );

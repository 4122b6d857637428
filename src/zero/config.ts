import { z } from 'zod';
import { nonNegativeInteger, positiveInteger } from '../base/schema.js';

/** What DeepSpeed's `zero_optimization` says of what the data-parallel ranks divide among themselves. */
export const zeroShape = {
  stage: z
    .literal([0, 1, 2, 3])
    .default(0)
    .describe(
      'What is divided over the data-parallel ranks: 0 nothing, 1 optimizer states, 2 gradients too, 3 parameters too.',
    ),
  reduce_bucket_size: positiveInteger()
    .default(4_194_304)
    .describe(
      "Gradient elements that travel in one reduction, at stage 0 as well. DeepSpeed's default of 5e8 " +
        'makes one bucket of most models, which leaves nothing to overlap; ours is 16 MiB of fp32. From stage 1 ' +
        'on no message is cut into fewer than 1024 elements for each rank.',
    ),
  overlap_comm: z
    .boolean()
    .default(true)
    .describe(
      "Reduce a bucket while backward computes the next. DeepSpeed's default is true for stage 3 alone.",
    ),
  stage3_prefetch_bucket_size: nonNegativeInteger()
    .default(50_000_000)
    .describe(
      'Stage 3: the parameters of the next block are gathered while one computes, up to so many elements; ' +
        '0 gathers each block when it is needed.',
    ),
  stage3_max_live_parameters: positiveInteger()
    .default(1_000_000_000)
    .describe(
      'Stage 3: no block is gathered ahead, or kept for a later use, that would bring more elements than this ' +
        'into memory. What one block needs it gets.',
    ),
  stage3_max_reuse_distance: nonNegativeInteger()
    .default(0)
    .describe(
      'Stage 3: a block stays whole after a use if its next use comes after no more than so many elements of ' +
        "other blocks. DeepSpeed's default of 1e9 keeps most models whole from forward to backward.",
    ),
  stage3_param_persistence_threshold: nonNegativeInteger()
    .default(100_000)
    .describe(
      'Stage 3: a block with no parameter larger than this many elements stays whole once it is gathered, ' +
        'to the end of its last use in the step. A small parameter of a larger block travels in the message of ' +
        'its block, and costs none of its own.',
    ),
  stage3_model_persistence_threshold: nonNegativeInteger()
    .default(Number.MAX_SAFE_INTEGER)
    .describe('Stage 3: elements that all blocks together may have that stay whole for being small.'),
  zero_quantized_weights: z
    .boolean()
    .default(false)
    .describe(
      'Stage 3: parameters travel as `int8` in blocks of 128, in a quarter of the bytes of fp32. Computed with is what ' +
        'arrives; what is updated and saved stays fp32 (ZeRO++).',
    ),
  zero_quantized_gradients: z
    .boolean()
    .default(false)
    .describe(
      'Stage 3: the ranks of one host sum gradients in fp32, and the sums travel to other hosts as `int4` in blocks ' +
        'of 128 (ZeRO++). On one host there is nothing to quantize, and a note says so.',
    ),
  zero_hpz_partition_size: positiveInteger()
    .default(1)
    .describe(
      'DeepSpeed\'s name of `redundancy: {"type": "secondary", "size": n}`; 1 means that there is no second copy.',
    ),
  mics_shard_size: z
    .union([z.literal(-1), positiveInteger()])
    .default(-1)
    .describe(
      'DeepSpeed\'s name of `redundancy: {"type": "groups", "size": n}`; -1 and 1 mean that the state is divided over all ranks.',
    ),
};

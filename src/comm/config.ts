import { z } from 'zod';
import { nonNegativeInteger, positiveInteger, positiveNumber } from '../base/schema.js';
import { ALGORITHM_NAMES } from './algorithm.js';

/** The `mesh` key: how the ranks are laid out. Data parallelism takes what the other axes leave. */
export const meshSchema = z
  .strictObject({
    pipeline: positiveInteger().default(1).describe('Pipeline stages.'),
    tensor: positiveInteger().default(1).describe('Ranks that share each layer (tensor parallelism).'),
    sequence_parallel: z
      .boolean()
      .default(false)
      .describe(
        'Between the matrices of a layer each of its ranks keeps only its part of the positions: the same bytes ' +
          'travel, and activations take less memory. The sequence length has to be a multiple of `tensor`.',
      ),
  })
  .prefault({})
  .describe('The layout of the ranks; data parallelism takes world size / (pipeline × tensor).');

/** How the parameters lie on the tensor axis whose names match. */
const layerSpecSchema = z.strictObject({
  patterns: z
    .array(z.string().min(1).refine(isExpression, 'a regular expression'))
    .min(1)
    .describe('Regular expressions, which match anywhere in the full name of a parameter.'),
  partition_type: z
    .enum(['column', 'row', 'vocabulary', 'skip'])
    .describe(
      'Divided by outputs (biases too), by inputs, a table over tokens by its rows, or whole on every rank. ' +
        'DeepSpeed knows no `vocabulary`.',
    ),
  sections: positiveInteger()
    .default(1)
    .describe(
      'Matrices that lie side by side in a `column`, each of which is divided (3: queries, keys and values).',
    ),
});

function isExpression(pattern: string): boolean {
  try {
    return new RegExp(pattern, 'u').source !== '';
  } catch {
    return false;
  }
}

/** The `tensor_parallel` key: DeepSpeed's name of one axis. */
export const tensorParallelSchema = z
  .strictObject({
    autotp_size: nonNegativeInteger()
      .default(0)
      .describe("DeepSpeed's name of `mesh.tensor`; 0 and 1 mean that layers are not divided."),
    partition_config: z
      .strictObject({
        layer_specs: z
          .array(layerSpecSchema)
          .default([])
          .describe('How parameters lie by their names; of several rules the first that matches counts.'),
        strict_mode: z
          .boolean()
          .default(false)
          .describe('A parameter that no rule matches is an error; otherwise it is whole on every rank.'),
      })
      .prefault({})
      .describe("How a model of one's own is divided that has no table of placements (`Model.divided`)."),
  })
  .prefault({})
  .describe('Tensor parallelism, as DeepSpeed writes it.');

/** The `sequence_parallel_size` key, which DeepSpeed has at the top as well. */
export const sequenceParallelSizeSchema = positiveInteger()
  .default(1)
  .describe(
    'Of the data-parallel ranks, how many neighbours share each sequence: between attentions every one of them has its ' +
      'part of the positions, in attention its part of the heads (context parallelism, DeepSpeed-Ulysses).',
  );

/** Of which there is nothing more to say. */
const PLAIN_TYPES = ['none', 'fp16', 'fp16-dynamic', 'bf16', 'one-bit'] as const;

const COMPRESSION_TYPES = ['fp16-static', 'int8', 'int4', ...PLAIN_TYPES] as const;

/** In the middle between no overflow and no loss of small values for most models; 2^24 is the other usual one. */
const STANDARD_SCALE = 2 ** 16;

/** A scale costs 128 values 1/4 bit each, and 32 values one bit each, which 4 bits cannot do without in long runs. */
const STANDARD_BLOCK_SIZES = { int8: 128, int4: 32 } as const;

/** Whole bytes of any code, and scales on four-byte borders. */
const BLOCK_SIZE_STEP = 32;

function blockSize(standard: number) {
  return z
    .int()
    .multipleOf(BLOCK_SIZE_STEP)
    .min(BLOCK_SIZE_STEP)
    .max(65_536)
    .default(standard)
    .describe('Values that share a scale.');
}

/** `communication.compression`: a name, or an object where there is more to say. */
const compressionSchema = z.union([
  z.enum(COMPRESSION_TYPES),
  z.strictObject({ type: z.enum(PLAIN_TYPES) }),
  z.strictObject({
    type: z.literal('fp16-static'),
    scale: z
      .number()
      .min(1e-18)
      .max(1e18)
      .default(STANDARD_SCALE)
      .describe('The factor on the gradient of the mean loss before it is rounded to fp16.'),
  }),
  z.strictObject({ type: z.literal('int8'), block_size: blockSize(STANDARD_BLOCK_SIZES.int8) }),
  z.strictObject({ type: z.literal('int4'), block_size: blockSize(STANDARD_BLOCK_SIZES.int4) }),
]);

/** How gradients are compressed, with nothing left open. */
export type ActiveCompression =
  | { readonly type: 'fp16' | 'fp16-dynamic' | 'bf16' | 'one-bit' }
  | { readonly type: 'fp16-static'; readonly scale: number }
  | { readonly type: 'int8' | 'int4'; readonly block_size: number };

export type Compression = { readonly type: 'none' } | ActiveCompression;

type CompressionSetting = z.output<typeof compressionSchema>;

/** `communication.compression` and `communication_data_type` say one thing; where both are there, they agree. */
export function compressionOf({
  compression,
  dtype = 'fp32',
}: {
  readonly compression?: CompressionSetting | undefined;
  readonly dtype?: z.output<typeof communicationDataTypeSchema>;
}): CompressionSetting {
  return compression ?? (dtype === 'fp32' ? 'none' : dtype);
}

/** A compression by its name alone, which takes what is usual, or as it is. */
export function completeCompression(written: CompressionSetting): Compression {
  if (typeof written !== 'string') return written;
  switch (written) {
    case 'fp16-static':
      return { type: written, scale: STANDARD_SCALE };
    case 'int8':
    case 'int4':
      return { type: written, block_size: STANDARD_BLOCK_SIZES[written] };
    default:
      return { type: written };
  }
}

/** The `communication_data_type` key: DeepSpeed's name for a plain cast on the wire. */
export const communicationDataTypeSchema = z
  .enum(['fp32', 'fp16', 'bf16'])
  .optional()
  .describe(
    'The dtype in which gradients travel: `communication.compression` none, fp16 or bf16. Left out: the one that ' +
      'blocks compute with.',
  );

/** `communication.topology`: which ranks share a host. */
const topologySchema = z
  .union([
    z.strictObject({
      ranks_per_host: positiveInteger().describe('So many ranks that follow one another share a host.'),
    }),
    z.array(z.array(nonNegativeInteger()).min(1)).min(1),
  ])
  .describe(
    'Which ranks share a host: `{"ranks_per_host": 2}`, or the ranks of every host, such as `[[0, 1], [2, 3]]`. Ranks ' +
      'of different hosts share no memory. Left out: as the launcher says.',
  );

/** The `communication` key: how bytes travel between ranks. */
export const communicationSchema = z
  .strictObject({
    timeout_seconds: positiveNumber()
      .default(60)
      .describe('A collective that takes longer ends the run, with the rank that is missing named.'),
    algorithm: z
      .enum(['auto', 'backend', 'shared-memory', ...ALGORITHM_NAMES])
      .default('auto')
      .describe(
        'How collectives are done: "shared-memory" between ranks of one host, which read each other\'s memory; ' +
          '"backend": what Gloo does; "ring", "bidirectional-ring", "halving-doubling", or "hierarchical" between ' +
          'several hosts: our own, over messages; "auto": shared memory where all ranks can have it, else what is ' +
          'predicted to be fastest for each message. See docs/communication.md.',
      ),
    topology: topologySchema.optional(),
    merge_below_ms: z
      .number()
      .min(0)
      .max(1000)
      .default(0)
      .describe(
        'A message of gradients whose sum would take less than so many milliseconds is merged with the next, whatever ' +
          '`reduce_bucket_size` says: what a sum takes is measured when a run starts. From stage 1 on a block is cut ' +
          'into no shorter messages. 0: by size alone, with the same messages in every run.',
      ),
    deterministic: z
      .boolean()
      .default(false)
      .describe(
        'Sum gradients in one fixed order, so that runs of one world size end with the same bits whatever ' +
          'the ZeRO stage, the bucket sizes and the timing. Slower at stage 0; stages 2 and 3 keep gradients ' +
          'while they accumulate. Where gradients travel compressed, as they do in bf16 and fp16 unless ' +
          '`communication_data_type` is fp32, stage 0 rounds its sums once more than stages 1 to 3, which agree; and ' +
          'a dynamic scale depends on the bucket.',
      ),
    compression: compressionSchema
      .optional()
      .describe(
        'How gradients travel between data-parallel ranks, to be summed in fp32: `none` (fp32), `fp16`, ' +
          '`fp16-static` (times 65536, or a scale of your own), `fp16-dynamic` (times the largest power of two that ' +
          'fits, chosen anew for each bucket), `bf16`, `int8` or `int4` (whole numbers times a scale for each block ' +
          'of 128 or 32 values, or of `block_size`), or `one-bit` (signs, where what a message loses is added to the ' +
          'next). Left out: what `communication_data_type` says.',
      ),
  })
  .prefault({})
  .describe('Communication between ranks.');

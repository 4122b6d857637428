import { z } from 'zod';
import { nonEmptyText, positiveInteger } from '../../base/schema.js';
import {
  communicationDataTypeSchema,
  communicationSchema,
  meshSchema,
  sequenceParallelSizeSchema,
  tensorParallelSchema,
} from '../../comm/config.js';
import { dataSchema } from '../../data/config.js';
import { adapterSchema, modelSchema } from '../../models/config.js';
import { gradientClippingSchema, optimizerSchema, schedulerSchema } from '../../optim/config.js';
import { pipelineStagesShape } from '../../pipeline/config.js';
import { bf16Schema, fp16Schema } from '../../precision/config.js';
import {
  activationCheckpointingSchema,
  checkpointIntervalShape,
  recomputeSchema,
} from '../../recompute/config.js';
import { redundancySchema } from '../../redundancy/config.js';
import { checkpointSchema } from '../../store/config.js';
import { zeroSchema } from '../../zero/config.js';
import { nonFiniteSchema } from '../non-finite/config.js';

/**
 * The whole configuration: every floor's slice under its key, and the engine's own keys.
 *
 * A key is here when Trainyard acts on it. DeepSpeed's other keys are recognised by name in
 * `deepspeed-keys.ts`, which says of each why it is refused.
 */
export const configSchema = z.strictObject({
  model: modelSchema.optional(),
  adapter: adapterSchema,
  data: dataSchema.optional(),
  steps: positiveInteger().optional().describe('Optimizer steps of the run.'),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(0)
    .describe('Start of every random choice: initial weights, order of the data, dropout.'),
  device: z.enum(['cpu', 'cuda']).default('cpu').describe('Where tensors live and are computed.'),
  output: nonEmptyText()
    .optional()
    .describe(
      "The folder that receives the trained model, in Hugging Face's layout. Left out: none is written.",
    ),
  checkpoint: checkpointSchema,
  mesh: meshSchema,
  tensor_parallel: tensorParallelSchema,
  sequence_parallel_size: sequenceParallelSizeSchema,
  communication: communicationSchema,
  communication_data_type: communicationDataTypeSchema,
  train_batch_size: positiveInteger()
    .optional()
    .describe(
      'Sequences per optimizer step, over all ranks: micro-batch × accumulation × data-parallel ranks, of which those that share sequences count once.',
    ),
  train_micro_batch_size_per_gpu: positiveInteger()
    .optional()
    .describe('Sequences per forward pass of one rank.'),
  gradient_accumulation_steps: positiveInteger().optional().describe('Micro-batches per optimizer step.'),
  optimizer: optimizerSchema,
  scheduler: schedulerSchema,
  gradient_clipping: gradientClippingSchema,
  zero_optimization: zeroSchema,
  redundancy: redundancySchema,
  bf16: bf16Schema.prefault({}),
  bfloat16: bf16Schema.optional().describe("DeepSpeed's older name of `bf16`."),
  fp16: fp16Schema.prefault({}),
  non_finite: nonFiniteSchema,
  recompute: recomputeSchema,
  activation_checkpointing: activationCheckpointingSchema,
  pipeline: z
    .strictObject({ ...pipelineStagesShape, ...checkpointIntervalShape })
    .prefault({})
    .describe("The stages of `mesh.pipeline`, and DeepSpeed's interval of recomputation."),
  steps_per_print: positiveInteger()
    .optional()
    .describe('Print a line every so many steps. Left out: every few seconds.'),
  $schema: nonEmptyText().optional().describe('The JSON Schema, for editors.'),
});

/** The configuration after the schema: defaults filled in, cross rules not yet applied. */
export type CheckedConfig = z.output<typeof configSchema>;

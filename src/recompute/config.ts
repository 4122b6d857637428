import { z } from 'zod';
import { nonEmptyText, nonNegativeInteger, positiveInteger } from '../base/schema.js';

const granularity = z
  .enum(['block', 'half'])
  .default('block')
  .describe(
    'What is kept or recomputed as one: a whole block, or a half. Layers are then trained as two blocks, the attention ' +
      '("model.layers.3.attention") and the feed-forward ("model.layers.3.mlp"). DeepSpeed has no such key.',
  );

const noneSchema = z.strictObject({
  policy: z.literal('none').describe('Keep every activation.'),
});

const alwaysSchema = z.strictObject({
  policy: z.literal('always').describe('Recompute every block where that saves memory.'),
  granularity,
});

const selectedSchema = z.strictObject({
  policy: z.literal('selected').describe('Recompute the blocks that `every` or `blocks` names.'),
  every: positiveInteger()
    .optional()
    .describe('Every so many blocks one is recomputed; with granularity "half" each half counts as one.'),
  blocks: z
    .array(nonEmptyText())
    .min(1)
    .readonly()
    .optional()
    .describe(
      'Names of blocks; `*` stands for any characters, as in "model.layers.*". Halves have names of their own.',
    ),
  granularity,
});

const onDemandSchema = z.strictObject({
  policy: z
    .literal('on-demand')
    .describe(
      'Keep activations until the predicted live bytes of a rank pass a limit; then drop the block whose backward is farthest away. A limit that cannot be kept is refused.',
    ),
  limit_bytes: positiveInteger().describe('The limit, over everything that the ledger of memory lists.'),
  granularity,
});

const budgetSchema = z.strictObject({
  policy: z
    .literal('budget')
    .describe(
      'Recompute the blocks that cost least time, as measured in the first step, so that a rank stays inside its budget.',
    ),
  budget_bytes: positiveInteger().describe('The budget, over everything that the ledger of memory lists.'),
  granularity,
});

/** The `recompute` key: which blocks run their forward again in backward, to keep less in between. */
export const recomputeSchema = z
  .discriminatedUnion('policy', [noneSchema, alwaysSchema, selectedSchema, onDemandSchema, budgetSchema])
  .prefault({ policy: 'none' })
  .describe(
    'Activation recomputation (activation checkpointing): a block keeps only its input from forward to backward. ' +
      'Gradients are the same to the last bit, dropout included.',
  );

/** The part of DeepSpeed's `activation_checkpointing` key that acts: where kept inputs lie. */
export const activationCheckpointingSchema = z
  .strictObject({
    cpu_checkpointing: z
      .boolean()
      .default(false)
      .describe(
        'Move the inputs that recomputed blocks keep to host memory, and back one block before they are needed. ' +
          'For GPUs, beside a policy that recomputes.',
      ),
  })
  .prefault({})
  .describe('Where what recomputation keeps lies; which blocks are recomputed, `recompute` says.');

/** What DeepSpeed's `pipeline` key says of recomputation. */
export const checkpointIntervalShape = {
  activation_checkpoint_interval: nonNegativeInteger()
    .default(0)
    .describe(
      'The same as `recompute` with policy "selected" and this `every`, of whole blocks; 0 recomputes nothing.',
    ),
};

/** Which blocks to recompute, as the configuration says it. */
export type RecomputePolicy = z.output<typeof recomputeSchema>;

/** What is recomputed as one; a whole block where nothing says it. */
export function granularityOf(policy: RecomputePolicy | undefined): 'block' | 'half' {
  return policy === undefined || policy.policy === 'none' ? 'block' : policy.granularity;
}

/** Which of the blocks that there are, whether these are halves of others or not. */
export type BlockChoice = WithoutGranularity<RecomputePolicy>;

type WithoutGranularity<Policy> = Policy extends unknown ? Omit<Policy, 'granularity'> : never;

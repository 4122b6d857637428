import { z } from 'zod';
import {
  decayRate,
  nonNegativeInteger,
  nonNegativeNumber,
  positiveInteger,
  positiveNumber,
} from '../base/schema.js';

const learningRate = nonNegativeNumber().default(1e-3).describe('Learning rate, before any schedule.');
const weightDecay = nonNegativeNumber().default(0);

function betas(first: number, second: number) {
  return z
    .tuple([decayRate(), decayRate()])
    .readonly()
    .default([first, second])
    .describe('Decay rates of the first and second moment.');
}

const adamParameters = {
  lr: learningRate,
  betas: betas(0.9, 0.999),
  eps: positiveNumber().default(1e-8).describe('Added to the root of the second moment.'),
  weight_decay: weightDecay.describe('Applied to every parameter.'),
};

const adamSchema = z.strictObject({
  type: z.literal('Adam'),
  params: z
    .strictObject({
      ...adamParameters,
      adam_w_mode: z
        .boolean()
        .default(true)
        .describe(
          "Decay the weights directly (AdamW) and not through the gradient; DeepSpeed's default too.",
        ),
    })
    .prefault({}),
});

const adamWSchema = z.strictObject({
  type: z.literal('AdamW'),
  params: z.strictObject(adamParameters).prefault({}),
});

const oneBitAdamSchema = z.strictObject({
  type: z.literal('OneBitAdam'),
  params: z
    .strictObject({
      ...adamParameters,
      freeze_step: positiveInteger()
        .default(100_000)
        .describe(
          'Updates that are AdamW with all gradients summed. After them the second moment stays as it is, and the ranks ' +
            'sum one bit of every element of the first moment in place of gradients.',
        ),
    })
    .prefault({}),
});

const sgdSchema = z.strictObject({
  type: z.literal('SGD'),
  params: z
    .strictObject({
      lr: learningRate,
      momentum: decayRate().default(0).describe('Decay rate of the running gradient; 0 keeps none.'),
      dampening: z.number().min(0).max(1).default(0).describe('How much less of a new gradient is added.'),
      nesterov: z.boolean().default(false).describe('Look ahead along the momentum.'),
      weight_decay: weightDecay.describe('Added to the gradient, for every parameter.'),
    })
    .prefault({}),
});

const lionSchema = z.strictObject({
  type: z.literal('Lion'),
  params: z
    .strictObject({
      lr: learningRate,
      betas: betas(0.9, 0.99),
      weight_decay: weightDecay.describe('Applied to every parameter.'),
    })
    .prefault({}),
});

const adagradSchema = z.strictObject({
  type: z.literal('Adagrad'),
  params: z
    .strictObject({
      lr: nonNegativeNumber().default(0.01).describe('Learning rate, before any schedule.'),
      lr_decay: nonNegativeNumber()
        .default(0)
        .describe('The learning rate of the update after so many is divided by 1 + their number times this.'),
      eps: positiveNumber().default(1e-10).describe('Added to the root of the sum of squares.'),
      weight_decay: weightDecay.describe('Added to the gradient, for every parameter.'),
    })
    .prefault({}),
});

/** The `optimizer` key, in DeepSpeed's form: `{"type": …, "params": {…}}`. */
export const optimizerSchema = z
  .discriminatedUnion('type', [
    adamWSchema,
    adamSchema,
    oneBitAdamSchema,
    sgdSchema,
    lionSchema,
    adagradSchema,
  ])
  .prefault({ type: 'AdamW' })
  .describe('The optimizer. Left out: AdamW with its defaults.');

const warmupSteps = positiveInteger()
  .default(1000)
  .describe('Steps of warm-up; DeepSpeed takes 1 as 2, and so do we.');
const warmupType = z.enum(['log', 'linear']).default('log').describe('The shape of the warm-up.');
const warmupMinLr = nonNegativeNumber().default(0).describe('Learning rate at the start of the warm-up.');
const totalSteps = positiveInteger()
  .optional()
  .describe('Steps of the whole schedule. Left out or "auto": `steps`.');

const warmupLrSchema = z.strictObject({
  type: z.literal('WarmupLR'),
  params: z
    .strictObject({
      warmup_min_lr: warmupMinLr,
      warmup_max_lr: nonNegativeNumber()
        .optional()
        .describe("Learning rate after the warm-up. Left out: the optimizer's `lr`."),
      warmup_num_steps: warmupSteps,
      warmup_type: warmupType,
    })
    .prefault({}),
});

const warmupDecayLrSchema = z.strictObject({
  type: z.literal('WarmupDecayLR'),
  params: z
    .strictObject({
      total_num_steps: totalSteps,
      warmup_min_lr: warmupMinLr,
      warmup_max_lr: nonNegativeNumber()
        .default(0.001)
        .describe("Learning rate at the end of the warm-up. DeepSpeed's default, not the optimizer's `lr`."),
      warmup_num_steps: warmupSteps,
      warmup_type: warmupType,
    })
    .prefault({}),
});

const warmupCosineLrSchema = z.strictObject({
  type: z.literal('WarmupCosineLR'),
  params: z
    .strictObject({
      total_num_steps: totalSteps,
      warmup_min_ratio: nonNegativeNumber()
        .default(0)
        .describe("Start of the warm-up, as a fraction of the optimizer's `lr`."),
      warmup_num_steps: warmupSteps,
      warmup_type: warmupType,
      cos_min_ratio: nonNegativeNumber()
        .default(1e-4)
        .describe("End of the cosine, as a fraction of the optimizer's `lr`."),
    })
    .prefault({}),
});

const oneCycleSchema = z.strictObject({
  type: z.literal('OneCycle'),
  params: z.strictObject({
    cycle_min_lr: nonNegativeNumber().describe('Learning rate at both ends of the cycle.'),
    cycle_max_lr: nonNegativeNumber().describe('Learning rate at the top of the cycle.'),
    decay_lr_rate: nonNegativeNumber().default(0).describe('Decay of the learning rate after the cycle.'),
    cycle_first_step_size: positiveInteger().default(2000).describe('Steps of the rising half.'),
    cycle_second_step_size: positiveInteger()
      .optional()
      .describe('Steps of the falling half. Left out: as many as the rising half.'),
    cycle_first_stair_count: nonNegativeInteger()
      .default(0)
      .describe('Stairs in the rising half; 0 is a straight line.'),
    cycle_second_stair_count: nonNegativeInteger()
      .optional()
      .describe('Stairs in the falling half. Left out: as many as the rising half.'),
    decay_step_size: nonNegativeInteger()
      .default(0)
      .describe('Steps per unit of decay after the cycle; 0 is no decay.'),
    cycle_momentum: z
      .boolean()
      .optional()
      .describe(
        'Move the momentum (β₁) against the learning rate. Left out: true where the optimizer has one, as in DeepSpeed.',
      ),
    cycle_min_mom: decayRate().default(0.8).describe('Momentum at the top of the cycle.'),
    cycle_max_mom: decayRate().default(0.9).describe('Momentum at both ends of the cycle.'),
    decay_mom_rate: nonNegativeNumber().default(0).describe('Growth of the momentum after the cycle.'),
  }),
});

const lrRangeTestSchema = z.strictObject({
  type: z.literal('LRRangeTest'),
  params: z
    .strictObject({
      lr_range_test_min_lr: nonNegativeNumber().default(1e-3).describe('Learning rate at the start.'),
      lr_range_test_step_size: positiveInteger().default(2000).describe('Steps per interval.'),
      lr_range_test_step_rate: nonNegativeNumber()
        .default(1)
        .describe('Growth per interval, as a fraction of the first learning rate.'),
      lr_range_test_staircase: z.boolean().default(false).describe('Grow at the end of each interval only.'),
    })
    .prefault({}),
});

/** Whether an optimizer has a momentum (β₁) that a schedule can move. */
export function hasMomentum({ type, params }: OptimizerConfig): boolean {
  return type === 'SGD' ? params.momentum > 0 : type !== 'Adagrad';
}

/** The `scheduler` key, in DeepSpeed's form: `{"type": …, "params": {…}}`. */
export const schedulerSchema = z
  .discriminatedUnion('type', [
    warmupLrSchema,
    warmupDecayLrSchema,
    warmupCosineLrSchema,
    oneCycleSchema,
    lrRangeTestSchema,
  ])
  .optional()
  .describe("The learning-rate schedule. Left out: the optimizer's `lr` throughout.");

/** The `gradient_clipping` key. */
export const gradientClippingSchema = nonNegativeNumber()
  .default(1.0)
  .describe(
    "Largest global L2 norm of the gradients; 0 does not clip. 1.0 is DeepSpeed's default since summer 2026 (0 before).",
  );

/** The `optimizer` slice with its defaults filled in. */
export type OptimizerConfig = Readonly<z.output<typeof optimizerSchema>>;

/** The `scheduler` slice with its defaults filled in. */
export type SchedulerConfig = Readonly<NonNullable<z.output<typeof schedulerSchema>>>;

import { z } from 'zod';
import { positiveInteger } from '../base/schema.js';

/** 2^120 times a loss is still an fp32 number. */
const LARGEST_POWER = 120;

/** The `bf16` key: DeepSpeed's mixed precision without loss scaling. */
export const bf16Schema = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe('Compute in bf16; the optimizer keeps and updates the weights in fp32.'),
    check_grad_overflow: z
      .boolean()
      .default(true)
      .describe('Leave out the update of a step whose gradients are not all finite.'),
  })
  .describe('Mixed precision in bf16.');

/** The `fp16` key: DeepSpeed's mixed precision with loss scaling. */
export const fp16Schema = z
  .strictObject({
    enabled: z
      .boolean()
      .default(false)
      .describe(
        'Compute in fp16; the optimizer keeps and updates the weights in fp32. A step whose gradients are not ' +
          'all finite is left out.',
      ),
    loss_scale: z
      .number()
      .min(0)
      .default(0)
      .describe('The factor on the loss; 0 lets it follow what the gradients allow.'),
    initial_scale_power: z
      .int()
      .min(0)
      .max(LARGEST_POWER)
      .default(16)
      .describe('The dynamic scale begins at 2 to this power.'),
    loss_scale_window: positiveInteger()
      .default(1000)
      .describe('Steps without an overflow after which the dynamic scale doubles.'),
    hysteresis: positiveInteger()
      .default(2)
      .describe('The overflow that halves the dynamic scale: those before it are tolerated.'),
    consecutive_hysteresis: z
      .boolean()
      .default(false)
      .describe('Count only overflows in a row: a step without one restores the tolerance.'),
    min_loss_scale: positiveInteger()
      .default(1)
      .describe('The smallest dynamic scale. An overflow that would lower it further ends the run.'),
  })
  .describe('Mixed precision in fp16, with loss scaling.');

/** How blocks compute, with nothing left open. */
export type Precision =
  | { readonly dtype: 'float32' }
  | { readonly dtype: 'bfloat16'; readonly checksOverflow: boolean }
  | { readonly dtype: 'float16'; readonly scaling: LossScaling };

/** How the factor on the loss goes from step to step. */
export type LossScaling =
  | { readonly kind: 'static'; readonly scale: number }
  | {
      readonly kind: 'dynamic';
      readonly initialScale: number;
      readonly window: number;
      readonly hysteresis: number;
      readonly consecutiveHysteresis: boolean;
      readonly minimumScale: number;
    };

type Bf16 = z.output<typeof bf16Schema>;
type Fp16 = z.output<typeof fp16Schema>;

/** The keys that say how blocks compute. */
export interface PrecisionKeys {
  readonly bf16: Bf16;
  /** DeepSpeed's older name of the same. */
  readonly bfloat16?: Bf16 | undefined;
  readonly fp16: Fp16;
}

/** The precision that the keys ask for, of which no more than one is enabled. */
export function precisionOf({ bf16, bfloat16, fp16 }: PrecisionKeys): Precision {
  const enabled = [bf16, bfloat16].find((each) => each?.enabled);
  if (enabled !== undefined) return { dtype: 'bfloat16', checksOverflow: enabled.check_grad_overflow };
  return fp16.enabled ? { dtype: 'float16', scaling: scalingOf(fp16) } : { dtype: 'float32' };
}

/** The name of a precision in configurations. */
export function precisionName({ dtype }: Precision): 'fp32' | 'bf16' | 'fp16' {
  switch (dtype) {
    case 'float32':
      return 'fp32';
    case 'bfloat16':
      return 'bf16';
    case 'float16':
      return 'fp16';
    default:
      return dtype satisfies never;
  }
}

function scalingOf(fp16: Fp16): LossScaling {
  if (fp16.loss_scale > 0) return { kind: 'static', scale: fp16.loss_scale };
  return {
    kind: 'dynamic',
    initialScale: 2 ** fp16.initial_scale_power,
    window: fp16.loss_scale_window,
    hysteresis: fp16.hysteresis,
    consecutiveHysteresis: fp16.consecutive_hysteresis,
    minimumScale: fp16.min_loss_scale,
  };
}

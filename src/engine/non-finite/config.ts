import { z } from 'zod';
import { positiveInteger } from '../../base/schema.js';

/** How often in a row a step may be left out, or how often a run may go back, before it stops all the same. */
const DEFAULT_LIMIT = 3;

/** The `non_finite` key: what becomes of a step whose loss or gradients are not finite. */
export const nonFiniteSchema = z
  .strictObject({
    action: z
      .enum(['stop', 'skip', 'rewind'])
      .describe(
        'What follows a loss or a gradient that is NaN or infinite: "stop" ends the run, "skip" leaves the update out, ' +
          '"rewind" goes back to the newest checkpoint and leaves the batch out.',
      ),
    limit: positiveInteger()
      .default(DEFAULT_LIMIT)
      .describe(
        'Steps that may be skipped in a row, or how often the run may go back: one more, and it stops.',
      ),
  })
  .optional()
  .describe(
    'What to do about a loss or gradients that are not finite. Left out: fp32 stops, bf16 leaves such steps out unless ' +
      '`bf16.check_grad_overflow` is false, fp16 leaves them out and lowers the loss scale; both stop after 100 in a row, ' +
      'and fp16 where the scale cannot be lowered. In fp16 this is about overflows that the scale does not answer.',
  );

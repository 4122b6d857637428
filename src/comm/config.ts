import { z } from 'zod';
import { positiveInteger, positiveNumber } from '../base/schema.js';

/** The `mesh` key: how the ranks are laid out. Data parallelism takes what the other axes leave. */
export const meshSchema = z
  .strictObject({
    pipeline: positiveInteger().default(1).describe('Pipeline stages.'),
    tensor: positiveInteger().default(1).describe('Ranks that share each layer (tensor parallelism).'),
  })
  .prefault({})
  .describe('The layout of the ranks; data parallelism takes world size / (pipeline × tensor).');

/** The `communication` key: how bytes travel between ranks. */
export const communicationSchema = z
  .strictObject({
    timeout_seconds: positiveNumber()
      .default(60)
      .describe('A collective that takes longer ends the run, with the rank that is missing named.'),
    deterministic: z
      .boolean()
      .default(false)
      .describe(
        'Sum gradients in one fixed order, so that runs of one world size end with the same bits whatever ' +
          'the ZeRO stage, the bucket sizes and the timing. Slower at stage 0; stages 2 and 3 keep gradients ' +
          'while they accumulate.',
      ),
  })
  .prefault({})
  .describe('Communication between ranks.');

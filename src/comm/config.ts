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

/** How bytes travel: `backend` is what the transport (Gloo) does by itself. */
const COLLECTIVE_ALGORITHMS = ['auto', 'backend', 'shared-memory'] as const;
export type CollectiveAlgorithm = (typeof COLLECTIVE_ALGORITHMS)[number];

/** The `communication` key: how bytes travel between ranks. */
export const communicationSchema = z
  .strictObject({
    timeout_seconds: positiveNumber()
      .default(60)
      .describe('A collective that takes longer ends the run, with the rank that is missing named.'),
    algorithm: z
      .enum(COLLECTIVE_ALGORITHMS)
      .default('auto')
      .describe(
        'How collectives are done: "shared-memory" between ranks of one host, which read each other\'s memory; ' +
          '"backend": what Gloo does; "auto": shared memory where all ranks can have it.',
      ),
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

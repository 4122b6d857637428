import { z } from 'zod';
import { decayRate, positiveInteger, positiveNumber } from '../base/schema.js';

const averageSchema = z
  .strictObject({ type: z.literal('average') })
  .describe('All replicas go on from their mean.');

const nesterovSchema = z
  .strictObject({
    type: z.literal('nesterov'),
    lr: positiveNumber()
      .default(0.7)
      .describe('How far the common weights go towards the mean of the replicas.'),
    momentum: decayRate()
      .default(0.9)
      .describe('Decay rate of the running direction in which the common weights have gone before.'),
  })
  .describe('The common weights take a step of SGD with Nesterov momentum towards the mean of the replicas.');

const localSchema = z
  .strictObject({
    type: z.literal('local'),
    sync_every: z
      .union([positiveInteger(), z.literal('never')])
      .default(500)
      .describe(
        'Optimizer steps from one synchronisation to the next, between which nothing travels; "never": each rank ' +
          'trains a model of its own.',
      ),
    outer: z
      .discriminatedUnion('type', [averageSchema, nesterovSchema])
      .prefault({ type: 'nesterov' })
      .describe(
        'What becomes of the replicas at a synchronisation: `{"type": "average"}`, all go on from their mean; or ' +
          '`{"type": "nesterov", "lr": 0.7, "momentum": 0.9}`, from where SGD with Nesterov momentum takes the common ' +
          'weights of the last synchronisation, whose difference to that mean is its gradient. `lr` is above 0, ' +
          '`momentum` from 0 to below 1.',
      ),
  })
  .describe(
    'Every rank trains a whole model on its own part of the data, and they are brought together now and then.',
  );

const groupsSchema = z
  .strictObject({
    type: z.literal('groups'),
    size: positiveInteger()
      .min(2)
      .describe(
        'Ranks of a group, which follow one another along the data axis: the number of data-parallel ranks is a multiple of it.',
      ),
  })
  .describe(
    'What ZeRO divides is divided inside groups of ranks, and every group has all of it (MiCS): what is gathered never ' +
      'leaves a group, and once per step the groups sum their gradients.',
  );

const secondarySchema = z
  .strictObject({
    type: z.literal('secondary'),
    size: positiveInteger()
      .min(2)
      .describe(
        'Ranks that divide the second copy, which follow one another along the data axis, as those of a host do: the ' +
          'number of data-parallel ranks is a multiple of it.',
      ),
  })
  .describe(
    'ZeRO stage 3 with a second copy of the parameters, divided over the ranks of a host (ZeRO++ hpZ): only the first gather ' +
      'of a block in a step leaves the host.',
  );

/** The `redundancy` key: what ranks have more than once, to send less. Its defaults are DiLoCo's (arXiv 2311.08105). */
export const redundancySchema = z
  .discriminatedUnion('type', [localSchema, groupsSchema, secondarySchema])
  .optional()
  .describe('What the ranks have more than once, so that less must travel. See docs/redundancy.md.');

export type Redundancy = z.output<typeof redundancySchema>;

/** How replicas are brought together. */
export type OuterOptimizer = z.output<typeof localSchema>['outer'];

/** When and how the replicas of ranks that train by themselves come together. */
export interface Synchronization {
  readonly every: number;
  readonly outer: OuterOptimizer;
}

/** Whether ranks train replicas, and how these meet; undefined where they do not, or never. */
export function synchronizationOf(redundancy: Redundancy): Synchronization | undefined {
  if (redundancy?.type !== 'local' || redundancy.sync_every === 'never') return undefined;
  return { every: redundancy.sync_every, outer: redundancy.outer };
}

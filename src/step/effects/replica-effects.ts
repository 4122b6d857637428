import { startName } from '../instruction-text.js';
import { membersOf, type Program } from '../program.js';
import { hasMasters } from '../sharding.js';
import type { EffectTable } from './effect-table.js';
import {
  commonSlice,
  compared,
  distances,
  gradients,
  merged,
  optimizerStates,
  parameters,
  replicaSlices,
  scratchName,
  shards,
  update,
} from './value-names.js';

/** What a rank tells the others of its replica: loss, tokens, vote to stop, and the squares of its slice of the mean. */
const COMPARED_ELEMENTS = 4;
const FLOAT64_BYTES = 8;

/** What instructions do that bring replicas together. */
export const replicaEffects: Pick<EffectTable, 'exchange' | 'merge' | 'publish' | 'compare'> = {
  exchange: (instruction, program) => ({
    reads: [update, gradients, ...weights(program)],
    makes: [{ value: replicaSlices }],
    frees: [],
    starts: startName(instruction),
    collective: {
      kind: 'all-to-all',
      group: 'replicas',
      subject: 'replicas',
      elements: program.trainableElements,
      bytes: program.trainableElements * program.bytesPerElement,
    },
  }),

  merge: (_, program) => ({
    reads: [replicaSlices, optimizerStates],
    makes: [
      { value: commonSlice },
      { value: distances },
      {
        value: scratchName,
        memory: {
          account: 'workspace',
          bytes:
            (program.trainableElements / membersOf(program, 'replicas').length) * program.bytesPerElement,
        },
      },
    ],
    frees: [scratchName],
  }),

  publish: (instruction, program) => ({
    reads: [commonSlice, ...weights(program)],
    makes: [{ value: merged }],
    frees: [],
    starts: startName(instruction),
    collective: {
      kind: 'all-gather',
      group: 'replicas',
      subject: 'common weights',
      elements: program.trainableElements,
      bytes: program.trainableElements * program.bytesPerElement,
    },
  }),

  compare: (instruction, program) => {
    const ranks = membersOf(program, 'replicas').length;
    const elements = ranks * (COMPARED_ELEMENTS + ranks);
    return {
      reads: [distances],
      makes: [{ value: compared }],
      frees: [],
      starts: startName(instruction),
      collective: {
        kind: 'all-gather',
        group: 'replicas',
        subject: 'comparison',
        elements,
        bytes: elements * FLOAT64_BYTES,
      },
    };
  },
};

/** What the optimizer updates. */
function weights(program: Program): readonly string[] {
  return hasMasters(program) ? [shards] : program.blocks.map((_, block) => parameters(block));
}

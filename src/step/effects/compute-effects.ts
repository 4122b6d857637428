import type { Instruction, UpdateShare } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { BlockExchanges, Program } from '../program.js';
import { blocksUsedBy, hasMasters, remadeBlocks, updatedBlocks } from '../sharding.js';
import { isInputReceived, stageBlocks } from '../stage-blocks.js';
import type { Collective, Effects, EffectTable, Made } from './effect-table.js';
import { finishedGradients } from './finished-gradients.js';
import { errorBytes } from './initial-values.js';
import {
  adopted,
  batch,
  blockGradients,
  checked,
  cleared,
  contribution,
  deferred,
  earlierUpdate,
  errors,
  errorsBefore,
  gradientNorm,
  gradients,
  graph,
  loss,
  optimizerStates,
  output,
  outputGradient,
  ownMomentum,
  parameters,
  reduced,
  scratchName,
  shards,
  update,
  updatedBlock,
  updatedShare,
  wholeMomentum,
} from './value-names.js';

/** What instructions do that compute on one rank. */
export const computeEffects: Pick<
  EffectTable,
  | 'clear'
  | 'load'
  | 'forward'
  | 'recompute'
  | 'backward'
  | 'cast'
  | 'remember'
  | 'restore'
  | 'accumulate'
  | 'check'
  | 'clip'
  | 'step'
  | 'adopt'
  | 'update'
> = {
  // Until then the update before reads what was there.
  clear: (_, program) => ({
    reads: [gradients, ...(program.offload?.updates === 'before use' ? updatesBefore(program) : [])],
    makes: [{ value: cleared }],
    frees: [],
  }),

  load: ({ micro }, program) => ({
    reads: [],
    makes: [{ value: batch(micro), memory: { account: 'batches', bytes: program.batchBytes } }],
    frees: [],
  }),

  forward: ({ block, micro, drop = false }, program) => {
    const { outputBytes = 0, workspace } = program.blocks[block] ?? {};
    const intoTally = isLast(program, block);
    return {
      reads: [
        ...blocksUsedBy(block, program).map(parameters),
        batch(micro),
        ...(block > 0 ? [output(block - 1, micro)] : []),
        ...(intoTally ? [cleared] : []),
      ],
      makes: [
        { value: output(block, micro), memory: { account: 'activations', bytes: outputBytes } },
        ...(drop ? [] : [madeGraph(block, micro, program)]),
        ...(intoTally ? [{ value: loss(micro) }] : []),
        scratch(drop ? workspace?.drop : workspace?.forward),
      ],
      frees: [scratchName],
      inside: withinBlock('forward', block, program),
    };
  },

  // It puts its own output in the place of the first one, which nothing but its gradient still needs.
  recompute: ({ block, micro }, program) => ({
    reads: [
      ...blocksUsedBy(block, program).map(parameters),
      batch(micro),
      ...(block > 0 ? [output(block - 1, micro)] : []),
      output(block, micro),
      ...(isLast(program, block) ? [] : [outputGradient(block, micro)]),
    ],
    makes: [madeGraph(block, micro, program), scratch(program.blocks[block]?.workspace?.forward)],
    frees: [scratchName],
    inside: withinBlock('forward', block, program),
  }),

  backward: (instruction, program) =>
    instruction.half === 'weights' ? weightsHalf(instruction, program) : backwardOf(instruction, program),

  cast: ({ block }) => ({ reads: [shards], makes: [{ value: parameters(block) }], frees: [] }),

  remember: (_, program) => ({
    reads: [errors],
    makes: [{ value: errorsBefore, memory: { account: 'errors', bytes: errorBytes(program) } }],
    frees: [],
  }),

  restore: () => ({ reads: [errors, errorsBefore, checked], makes: [], frees: [errorsBefore] }),

  accumulate: ({ unlessOverflow = false }, program) => ({
    reads: [
      gradientNorm,
      gradients,
      optimizerStates,
      ...gatheredMomentum(program),
      ...(unlessOverflow ? [checked] : []),
    ],
    makes: [{ value: ownMomentum }],
    frees: [],
  }),

  check: (_, program) => ({
    reads: [gradients, ...finishedGradients(program)],
    makes: [{ value: checked }],
    frees: [],
  }),

  clip: (_, program) => ({
    reads: [gradients, ...finishedGradients(program)],
    makes: [{ value: gradientNorm }],
    frees: [],
  }),

  step: ({ unlessOverflow = false, left = false }, program) => ({
    reads: [
      gradientNorm,
      gradients,
      optimizerStates,
      ...(program.exchanges === 'momentum' ? finishedMomentum(program) : []),
      ...(hasMasters(program) ? [shards] : program.blocks.map((_, block) => parameters(block))),
      ...(unlessOverflow ? [checked] : []),
      ...(left ? updatesBefore(program) : []),
    ],
    makes: [{ value: update }],
    // What other ranks own and what is a copy is out of date from here on, until the next step makes it anew.
    frees: program.sharding?.parameters === 'released' ? [] : remadeBlocks(program).map(parameters),
  }),

  adopt: () => ({ reads: [shards, optimizerStates], makes: [{ value: adopted }], frees: [] }),

  update: (instruction) =>
    'block' in instruction
      ? {
          reads: [shards, optimizerStates],
          makes: [{ value: updatedBlock(instruction.block) }],
          frees: [],
          starts: startName(instruction),
        }
      : updateShare(instruction),
};

/** All of the update that the step before has left. */
function updatesBefore(program: Program): readonly string[] {
  if (program.offload?.updates === 'delayed') return [earlierUpdate];
  return updatedBlocks(program).map(updatedBlock);
}

function updateShare({ share, shares }: UpdateShare): Effects {
  return {
    reads: [shards, optimizerStates, adopted, ...(share === 0 ? [] : [updatedShare(share - 1)])],
    makes: [{ value: updatedShare(share) }, ...(share === shares - 1 ? [{ value: earlierUpdate }] : [])],
    frees: [],
  };
}

/** A whole backward, or the half that the stage before waits for. */
function backwardOf({ block, micro, half }: Instruction<'backward'>, program: Program): Effects {
  const arriving = isLast(program, block) ? [] : [outputGradient(block, micro)];
  const previous = program.blocks[block - 1];
  const workspace = program.blocks[block]?.workspace;
  const leaving =
    previous === undefined
      ? []
      : [
          {
            value: outputGradient(block - 1, micro),
            memory: { account: 'activations' as const, bytes: previous.outputBytes },
          },
        ];
  return {
    reads: [
      ...blocksUsedBy(block, program).flatMap((owner) => [
        parameters(owner),
        ...gradientsToAddTo(owner, micro, program),
      ]),
      cleared,
      output(block, micro),
      graph(block, micro),
      ...arriving,
    ],
    makes: [
      ...(half === 'input' ? [] : [{ value: contribution(block, micro) }]),
      ...leaving,
      scratch((half === 'input' ? workspace?.backwardInput : undefined) ?? workspace?.backward),
    ],
    frees: [
      output(block, micro),
      ...(half === 'input' ? [] : [graph(block, micro)]),
      ...arriving,
      // Nobody else on this rank needs what another one made.
      ...(isInputReceived(block, program) ? [output(block - 1, micro)] : []),
      ...(block === stageBlocks(program)[0] ? [batch(micro)] : []),
      scratchName,
    ],
    inside: withinBlock('backward', block, program),
    ...(half === 'input' && {
      becomes: { from: graph(block, micro), made: madeDeferred(block, micro, program) },
    }),
  };
}

/** The products that the other half left; they need no parameters. */
function weightsHalf({ block, micro }: Instruction<'backward'>, program: Program): Effects {
  const workspace = program.blocks[block]?.workspace;
  return {
    reads: [
      ...blocksUsedBy(block, program).flatMap((owner) => gradientsToAddTo(owner, micro, program)),
      cleared,
      deferred(block, micro),
    ],
    makes: [
      { value: contribution(block, micro) },
      scratch(workspace?.backwardWeights ?? workspace?.backward),
    ],
    frees: [deferred(block, micro), scratchName],
  };
}

/** What a block exchanges while it runs. */
function withinBlock(
  direction: keyof BlockExchanges,
  block: number,
  { blocks }: Program,
): readonly Collective[] {
  const exchanges = blocks[block]?.exchanges?.[direction] ?? [];
  return exchanges.map((exchange) => ({ ...exchange, subject: `block.${block}` }));
}

/** What an instruction takes on its way; it frees it itself. */
function scratch(bytes = 0): Made {
  return { value: scratchName, memory: { account: 'workspace', bytes } };
}

/** What a block keeps for its backward beside its output. */
function madeGraph(block: number, micro: number, program: Program): Made {
  return {
    value: graph(block, micro),
    memory: { account: 'activations', bytes: graphBytes(block, program) },
  };
}

/** What the first half of its backward leaves for the second. */
function madeDeferred(block: number, micro: number, program: Program): Made {
  const bytes = program.blocks[block]?.deferredBytes ?? graphBytes(block, program);
  return { value: deferred(block, micro), memory: { account: 'activations', bytes } };
}

function graphBytes(block: number, program: Program): number {
  const { activationBytes = 0, outputBytes = 0 } = program.blocks[block] ?? {};
  return Math.max(0, activationBytes - outputBytes);
}

/** What a backward adds to must have been prepared for it: older gradients in the same memory are on their way. */
function gradientsToAddTo(block: number, micro: number, { sharding }: Program): readonly string[] {
  if (sharding?.gradients !== 'released') return [];
  return [blockGradients(block, sharding.reductions === 'every step' ? undefined : micro)];
}

/** What of the momentum other ranks have, where this step brings it together. */
function gatheredMomentum(program: Program): readonly string[] {
  const gathers = program.instructions.some((each) => each.op === 'gather' && each.of === 'momentum');
  return gathers ? remadeBlocks(program).map(wholeMomentum) : [];
}

/** The sum of the ranks' shares. */
function finishedMomentum(program: Program): readonly string[] {
  return [ownMomentum, ...program.buckets.map((_, bucket) => reduced(bucket))];
}

function isLast(program: Program, block: number): boolean {
  return block === program.blocks.length - 1;
}

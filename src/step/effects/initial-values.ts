import { TALLY_ELEMENTS } from '../../nn/flat-layout.js';
import { serverElements } from '../message-errors.js';
import type { MixedPrecision, Offloading, Program, ProgramBlock, Sharding } from '../program.js';
import { offloadedElements, rangeElements, remadeBlocks } from '../sharding.js';
import type { Made } from './effect-table.js';
import {
  computed,
  constants,
  errors,
  gradients,
  optimizerStates,
  parameters,
  secondary,
  shards,
  tierMemory,
  tiles,
  updatedWeights,
} from './value-names.js';

/** What is there before the first instruction, and must be there after the last. */
export function initialValues(program: Program): readonly Made[] {
  return [
    ...initialState(program),
    ...initialCopies(program),
    ...initialErrors(program),
    ...initialConstants(program),
    ...initialTiers(program),
  ];
}

/** A second copy of parameters, as blocks compute with them. */
function initialCopies({
  copiedBlocks,
  sharding,
  groups,
  precision,
  bytesPerElement,
}: Program): readonly Made[] {
  if (copiedBlocks === undefined || sharding === undefined) return [];
  const elements = copiedBlocks.reduce((sum, block) => sum + rangeElements(sharding, block), 0);
  const bytes =
    (elements / (groups.secondary?.length ?? 1)) * (precision?.bytesPerElement ?? bytesPerElement);
  return [{ value: secondary, memory: { account: 'secondary', bytes } }];
}

function initialErrors(program: Program): readonly Made[] {
  if (program.errorFeedback === undefined) return [];
  return [{ value: errors, memory: { account: 'errors', bytes: errorBytes(program) } }];
}

/** Of what messages have lost. */
export function errorBytes({ errorFeedback, bytesPerElement }: Program): number {
  if (errorFeedback === undefined) return 0;
  return (errorFeedback.worker + serverElements(errorFeedback)) * bytesPerElement;
}

function initialConstants({ constantBytes = 0 }: Program): readonly Made[] {
  if (constantBytes === 0) return [];
  return [{ value: constants, memory: { account: 'constants', bytes: constantBytes } }];
}

function initialState(program: Program): readonly Made[] {
  const { bytesPerElement, sharding, precision } = program;
  if (sharding !== undefined) return initialShards(program, sharding);
  if (precision !== undefined) return initialMasters(program, precision);
  return [
    ...program.blocks.map((block, index) => ({
      value: parameters(index),
      memory: { account: 'parameters' as const, bytes: trainedElements(block) * bytesPerElement },
    })),
    {
      value: gradients,
      memory: { account: 'gradients', bytes: (program.trainableElements + TALLY_ELEMENTS) * bytesPerElement },
    },
    { value: optimizerStates, memory: { account: 'optimizer', bytes: program.optimizerBytes } },
  ];
}

/** Nothing is divided, and blocks compute on copies: of all that is trained, and of nothing else. */
function initialMasters(program: Program, precision: MixedPrecision): readonly Made[] {
  const { bytesPerElement, trainableElements } = program;
  const made = new Set(remadeBlocks(program));
  return [
    { value: shards, memory: { account: 'masters', bytes: trainableElements * bytesPerElement } },
    {
      value: computed,
      memory: { account: 'parameters', bytes: trainableElements * precision.bytesPerElement },
    },
    ...[...program.blocks.keys()]
      .filter((block) => !made.has(block))
      .map((block) => ({ value: parameters(block), memory: { account: 'parameters' as const, bytes: 0 } })),
    {
      value: gradients,
      memory: { account: 'gradients', bytes: (trainableElements + TALLY_ELEMENTS) * bytesPerElement },
    },
    { value: optimizerStates, memory: { account: 'optimizer', bytes: program.optimizerBytes } },
  ];
}

function initialShards(program: Program, sharding: Sharding): readonly Made[] {
  const { bytesPerElement, trainableElements, precision } = program;
  const owned = trainableElements / program.groups.data.length;
  const fetched = offloadedElements('parameters', program);
  const passed = offloadedElements('optimizer', program);
  const isKept = sharding.parameters === 'kept';
  const sums =
    sharding.gradients === 'kept' ? trainableElements : owned - offloadedElements('gradients', program);
  const weights: readonly Made[] =
    precision === undefined
      ? [
          {
            value: shards,
            memory: {
              account: 'parameters',
              bytes: (isKept ? trainableElements : owned - fetched) * bytesPerElement,
            },
          },
        ]
      : [
          {
            value: shards,
            memory: { account: 'masters', bytes: (owned - passed) * bytesPerElement },
          },
          {
            value: computed,
            memory: {
              account: 'parameters',
              // Weights in another tier are no source for every use: a copy of the own slice stays.
              bytes: (isKept ? trainableElements : passed - fetched) * precision.bytesPerElement,
            },
          },
        ];
  return [
    ...weights,
    ...newWeights(program),
    {
      value: gradients,
      memory: { account: 'gradients', bytes: (sums + TALLY_ELEMENTS) * bytesPerElement },
    },
    {
      value: optimizerStates,
      memory: { account: 'optimizer', bytes: program.optimizerBytes - stateBytes(program) * passed },
    },
  ];
}

/** What a delayed update makes of slices in memory, while blocks compute with what they were. */
function newWeights(program: Program): readonly Made[] {
  if (program.offload?.updates !== 'delayed') return [];
  const elements = offloadedElements('optimizer', program) - offloadedElements('parameters', program);
  const bytes = elements * (program.precision?.bytesPerElement ?? program.bytesPerElement);
  return [{ value: updatedWeights, memory: { account: 'parameters', bytes } }];
}

/** What the optimizer keeps of one element. */
function stateBytes({ optimizerBytes, trainableElements, groups }: Program): number {
  return trainableElements === 0 ? 0 : optimizerBytes / (trainableElements / groups.data.length);
}

/** What lies in other tiers, and what an update passes through in memory. */
function initialTiers(program: Program): readonly Made[] {
  const { offload, precision, bytesPerElement } = program;
  if (offload === undefined) return [];
  const masterBytes = precision === undefined ? 0 : bytesPerElement;
  // Gradients of one step and of the next, weights before an update and after it.
  const copies = offload.updates === 'delayed' ? 2 : 1;
  const inTier = (kind: 'optimizer' | 'gradients' | 'parameters', what: string, each: number) => {
    const account = offload[kind]?.tier;
    const bytes = offloadedElements(kind, program) * each;
    return account === undefined ? [] : [{ value: tierMemory(account, what), memory: { account, bytes } }];
  };
  return [
    ...inTier('optimizer', 'optimizer states and masters', stateBytes(program) + masterBytes),
    ...inTier('gradients', 'gradients', copies * bytesPerElement),
    ...inTier('parameters', 'parameters', copies * (precision?.bytesPerElement ?? bytesPerElement)),
    {
      value: tiles,
      // Where the host updates, its memory is what they are in.
      memory: {
        account: program.hostIsApart && offload.optimizer ? 'host' : 'tiles',
        bytes: tileBytes(program, offload),
      },
    },
  ];
}

/** A file's page, through which passes what of a slice ends inside one. */
const PAGE_BYTES = 4096;

/** What the update holds of everything that is not in memory, of all of its tiles. */
function tileBytes(program: Program, offload: Offloading): number {
  const { precision, bytesPerElement } = program;
  const states = stateBytes(program);
  const isPassed = offload.optimizer !== undefined;
  const areFetched = offload.parameters !== undefined;
  // A delayed update makes new weights of those that blocks go on computing with.
  const arePassed = areFetched || offload.updates === 'delayed';
  const areWeights = precision === undefined ? arePassed : isPassed;
  const perElement =
    (isPassed ? states : 0) +
    (areWeights ? bytesPerElement : 0) +
    (precision !== undefined && areFetched ? precision.bytesPerElement : 0) +
    (offload.gradients === undefined ? 0 : bytesPerElement);
  const pages = Math.ceil(perElement / bytesPerElement) * PAGE_BYTES;
  return offload.tiles.count * (offload.tiles.elements * perElement + pages);
}

function trainedElements(block: ProgramBlock): number {
  return block.parameters
    .filter(({ owner, name, trainable }) => owner === name && trainable)
    .reduce((sum, { elements }) => sum + elements, 0);
}

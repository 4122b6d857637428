import { TALLY_ELEMENTS } from '../../nn/flat-layout.js';
import type { Made } from '../effects.js';
import { serverElements } from '../message-errors.js';
import type { MixedPrecision, Offloading, Program, ProgramBlock, Sharding, TierName } from '../program.js';
import { ownElements, rangeElements, remadeBlocks } from '../sharding.js';
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
  const { bytesPerElement, trainableElements, precision, offload } = program;
  const owned = trainableElements / program.groups.data.length;
  const stays = owned - fetchedElements(program);
  const isKept = sharding.parameters === 'kept';
  const sums = sharding.gradients === 'kept' ? trainableElements : offload?.gradients ? 0 : owned;
  const weights: readonly Made[] =
    precision === undefined
      ? [
          {
            value: shards,
            memory: { account: 'parameters', bytes: (isKept ? trainableElements : stays) * bytesPerElement },
          },
        ]
      : [
          {
            value: shards,
            memory: { account: 'masters', bytes: offload?.optimizer ? 0 : owned * bytesPerElement },
          },
          {
            value: computed,
            memory: {
              account: 'parameters',
              // Weights in another tier are no source for every use: a copy of the own slice stays.
              bytes:
                (isKept ? trainableElements : offload?.optimizer ? stays : 0) * precision.bytesPerElement,
            },
          },
        ];
  return [
    ...weights,
    {
      value: gradients,
      memory: { account: 'gradients', bytes: (sums + TALLY_ELEMENTS) * bytesPerElement },
    },
    {
      value: optimizerStates,
      memory: { account: 'optimizer', bytes: offload?.optimizer ? 0 : program.optimizerBytes },
    },
  ];
}

/** Of this rank's own slices, the elements that are fetched for each use. */
function fetchedElements(program: Program): number {
  const blocks = program.offload?.parameters?.blocks ?? [];
  return blocks.reduce((sum, block) => sum + ownElements(block, program), 0);
}

/** What lies in other tiers, and what an update passes through in memory. */
function initialTiers(program: Program): readonly Made[] {
  const { offload, precision, bytesPerElement, trainableElements, optimizerBytes } = program;
  if (offload === undefined) return [];
  const owned = trainableElements / program.groups.data.length;
  const { optimizer, gradients: sums, parameters: fetched } = offload;
  const masterBytes = precision === undefined ? 0 : owned * bytesPerElement;
  const copyBytes = fetchedElements(program) * (precision?.bytesPerElement ?? bytesPerElement);
  const inTier = (account: TierName | undefined, what: string, bytes: number): readonly Made[] =>
    account === undefined ? [] : [{ value: tierMemory(account, what), memory: { account, bytes } }];
  return [
    ...inTier(optimizer, 'optimizer states and masters', optimizerBytes + masterBytes),
    ...inTier(sums, 'gradients', owned * bytesPerElement),
    ...inTier(fetched?.tier, 'parameters', copyBytes),
    {
      value: tiles,
      // Where the host updates, its memory is what they are in.
      memory: {
        account: program.hostIsApart && optimizer ? 'host' : 'tiles',
        bytes: tileBytes(program, offload),
      },
    },
  ];
}

/** What the update holds of everything that is not in memory, of all of its tiles. */
function tileBytes(program: Program, offload: Offloading): number {
  const { precision, bytesPerElement, optimizerBytes, trainableElements, groups } = program;
  const states = optimizerBytes / (trainableElements / groups.data.length);
  const isPassed = offload.optimizer !== undefined;
  const areFetched = offload.parameters !== undefined;
  const perElement =
    (isPassed ? states : 0) +
    (precision === undefined ? (areFetched ? bytesPerElement : 0) : isPassed ? bytesPerElement : 0) +
    (precision !== undefined && areFetched ? precision.bytesPerElement : 0) +
    (offload.gradients === undefined ? 0 : bytesPerElement);
  return offload.tiles.count * offload.tiles.elements * perElement;
}

function trainedElements(block: ProgramBlock): number {
  return block.parameters
    .filter(({ owner, name, trainable }) => owner === name && trainable)
    .reduce((sum, { elements }) => sum + elements, 0);
}

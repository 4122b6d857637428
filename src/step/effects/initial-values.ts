import { TALLY_ELEMENTS } from '../../nn/flat-layout.js';
import type { Made } from '../effects.js';
import { serverElements } from '../message-errors.js';
import type { MixedPrecision, Program, ProgramBlock, Sharding } from '../program.js';
import { rangeElements, remadeBlocks } from '../sharding.js';
import {
  computed,
  constants,
  errors,
  gradients,
  optimizerStates,
  parameters,
  secondary,
  shards,
} from './value-names.js';

/** What is there before the first instruction, and must be there after the last. */
export function initialValues(program: Program): readonly Made[] {
  return [
    ...initialState(program),
    ...initialCopies(program),
    ...initialErrors(program),
    ...initialConstants(program),
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

function initialShards(
  program: Program,
  { parameters: kept, gradients: keptGradients }: Sharding,
): readonly Made[] {
  const { bytesPerElement, trainableElements, precision } = program;
  const owned = trainableElements / program.groups.data.length;
  const whole = kept === 'kept' ? trainableElements : 0;
  const values = kept === 'kept' ? trainableElements : owned;
  const sums = (keptGradients === 'kept' ? trainableElements : owned) + TALLY_ELEMENTS;
  const weights: readonly Made[] =
    precision === undefined
      ? [{ value: shards, memory: { account: 'parameters', bytes: values * bytesPerElement } }]
      : [
          { value: shards, memory: { account: 'masters', bytes: owned * bytesPerElement } },
          { value: computed, memory: { account: 'parameters', bytes: whole * precision.bytesPerElement } },
        ];
  return [
    ...weights,
    { value: gradients, memory: { account: 'gradients', bytes: sums * bytesPerElement } },
    { value: optimizerStates, memory: { account: 'optimizer', bytes: program.optimizerBytes } },
  ];
}

function trainedElements(block: ProgramBlock): number {
  return block.parameters
    .filter(({ owner, name, trainable }) => owner === name && trainable)
    .reduce((sum, { elements }) => sum + elements, 0);
}

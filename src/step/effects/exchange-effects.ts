import { createCodec } from '../../comm/codec.js';
import { TALLY_ELEMENTS } from '../../nn/flat-layout.js';
import {
  compressedAllGather,
  compressedAllReduce,
  compressedBetweenHosts,
  compressedReduceScatter,
} from '../compressed-messages.js';
import type { Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import { bucketElements, membersOf, type Program } from '../program.js';
import {
  contributorsTo,
  isFetched,
  rangeElements,
  requiredEvictions,
  requiredScatters,
  requiredSums,
} from '../sharding.js';
import { stageBlocks } from '../stage-blocks.js';
import type { Effects, EffectTable } from './effect-table.js';
import {
  arrivingMessages,
  compressedMessages,
  messagesOf,
  onTheWire,
  summedMessages,
} from './exchange-messages.js';
import { gradientsOfData, gradientsOfGroup, gradientsOfStage } from './finished-gradients.js';
import {
  agreed,
  agreedOver,
  blockGradients,
  blockMemory,
  cleared,
  completed,
  completionsOf,
  contribution,
  contributionsTo,
  copied,
  errors,
  errorsBefore,
  evictedGradients,
  fetchedParameters,
  gradients,
  lossesOf,
  microsOf,
  optimizerStates,
  ownMomentum,
  parameters,
  reduced,
  scattered,
  secondary,
  summed,
  weightsToUse,
  wholeMomentum,
} from './value-names.js';

/** What ranks agree on beside parameters and gradients: the tally, and the sum of squared gradients. */
const AGREED_ELEMENTS = TALLY_ELEMENTS + 1;
const FLOAT64_BYTES = 8;

/** What instructions do in which ranks exchange parameters and gradients, and with the memory of messages. */
export const exchangeEffects: Pick<
  EffectTable,
  'complete' | 'reduce' | 'gather' | 'copy' | 'prepare' | 'scatter' | 'sum' | 'release' | 'agree' | 'wait'
> = {
  complete: (instruction, program) => {
    const { block, axis } = instruction;
    const elements =
      program.completions?.find((each) => each.block === block && each.axis === axis)?.elements ?? 0;
    const isKept = program.sharding?.gradients !== 'released';
    const bytes = elements * program.bytesPerElement;
    const message = messagesOf(instruction, axis === 'tensor' ? bytes : 0);
    // A parameter that ties stages is in another block on each.
    const subject = axis === 'tensor' ? `block.${block}` : 'tied parameters';
    return {
      reads: [
        gradients,
        ...(isKept ? [] : [blockGradients(block, undefined)]),
        ...contributorsTo(block, program).flatMap((other) =>
          microsOf(program).map((micro) => contribution(other, micro)),
        ),
      ],
      makes: [{ value: completed(block, axis) }, message],
      frees: [message.value],
      starts: startName(instruction),
      collective: { kind: 'all-reduce', group: axis, subject, elements, bytes },
    };
  },

  reduce: (instruction, program) => {
    const bucket = program.buckets[instruction.bucket];
    const { compression, stages } = instruction;
    const elements = bucket === undefined ? 0 : bucketElements(bucket);
    const compressed =
      bucket && compression && compressedAllReduce(bucket, compression, program.groups.data.length);
    const messages = summedMessages(instruction, elements, program, compressed);
    return {
      reads:
        bucket === undefined
          ? []
          : instruction.of === 'momentum'
            ? [optimizerStates, ownMomentum, ...errorsReadBy(instruction, program)]
            : [gradients, ...errorsReadBy(instruction, program), ...contributionsTo(bucket, program)],
      makes: [{ value: reduced(instruction.bucket) }, ...messages],
      frees: messages.map(({ value }) => value),
      starts: startName(instruction),
      collective: {
        kind: 'all-reduce',
        group: 'data',
        subject: `${instruction.of ?? 'bucket'}.${instruction.bucket}`,
        elements,
        bytes: elements * program.bytesPerElement,
        ...(stages && { algorithm: stages.algorithm }),
        ...(compression && compressed && onTheWire(compression, compressed)),
      },
    };
  },

  gather: (instruction, program) => {
    const { block } = instruction;
    if (instruction.of === 'momentum') return gatherMomentum(instruction, program);
    const elements = program.sharding === undefined ? 0 : rangeElements(program.sharding, block);
    const bytes = elements * parameterBytes(program);
    const isKept = program.sharding?.parameters === 'kept';
    const { compression, from } = instruction;
    const isInPlace = from === undefined && isFetched(block, program);
    const slice = elements / program.groups.data.length;
    const compressed = compression && compressedAllGather(slice, compression, program);
    const messages = compressed ? [messagesOf(instruction, compressed.memoryBytes)] : [];
    return {
      reads: isInPlace
        ? [fetchedParameters(block)]
        : from === undefined
          ? weightsToUse(block, program)
          : [copied(block)],
      makes: [
        isKept || isInPlace
          ? { value: parameters(block) }
          : { value: parameters(block), memory: { account: 'gathered', bytes, pool: 'blocks' } },
        ...messages,
      ],
      frees: messages.map(({ value }) => value),
      starts: startName(instruction),
      collective: {
        kind: 'all-gather',
        group: from ?? 'data',
        subject: `block.${block}`,
        elements,
        bytes,
        ...(compression && compressed && onTheWire(compression, compressed)),
      },
    };
  },

  copy: ({ block }) => ({
    reads: [parameters(block), secondary],
    makes: [{ value: copied(block) }],
    frees: [],
  }),

  prepare: ({ block, micro }, program) => {
    const elements = program.sharding === undefined ? 0 : rangeElements(program.sharding, block);
    const bytes = elements * program.bytesPerElement;
    return {
      reads: [cleared],
      makes: [
        { value: blockMemory(block), memory: { account: 'gradients', bytes, pool: 'blocks' } },
        { value: blockGradients(block, micro) },
      ],
      frees: [],
    };
  },

  scatter: (instruction, program) => {
    const { part: index, micro, compression, betweenHosts = false } = instruction;
    const part = program.sharding?.parts[index];
    const ranks = program.groups.data.length;
    const elements = part === undefined ? 0 : (part.end - part.start) * ranks;
    const bytes = elements * program.bytesPerElement;
    const micros = micro === undefined ? microsOf(program) : [micro];
    const isKept = program.sharding?.gradients === 'kept';
    const compressedOf = betweenHosts ? compressedBetweenHosts : compressedReduceScatter;
    const compressed = part && compression && compressedOf(part, compression, program);
    const messages =
      compressed === undefined
        ? arrivingMessages(instruction, elements, program)
        : compressedMessages(instruction, compressed);
    return {
      reads:
        part === undefined
          ? []
          : [
              gradients,
              ...errorsReadBy(instruction, program),
              ...(isKept ? [] : [blockGradients(part.block, micro)]),
              ...part.blocks.flatMap((block) => micros.map((each) => contribution(block, each))),
              ...completionsOf([part.block], program),
            ],
      makes: [{ value: scattered(instruction) }, messages],
      frees: [messages.value],
      starts: startName(instruction),
      collective: {
        kind: 'reduce-scatter',
        group: 'data',
        subject: `part.${index}`,
        elements,
        bytes,
        ...(compression && compressed && onTheWire(compression, compressed, betweenHosts)),
      },
    };
  },

  sum: (instruction, program) => {
    const { block, compression } = instruction;
    const { sharding, groups, bytesPerElement } = program;
    const ranks = membersOf(program, 'replicate').length;
    const elements = sharding === undefined ? 0 : rangeElements(sharding, block) / groups.data.length;
    const slice = { start: 0, end: elements, carriesTally: false };
    const compressed = compression && compressedAllReduce(slice, compression, ranks);
    const messages = compressed ? [compressedMessages(instruction, compressed)] : [];
    return {
      reads: [gradients, ...scattersOf(block, program).map(scattered)],
      makes: [{ value: summed(block) }, ...messages],
      frees: messages.map(({ value }) => value),
      starts: startName(instruction),
      collective: {
        kind: 'all-reduce',
        group: 'replicate',
        subject: `slice.${block}`,
        elements,
        bytes: elements * bytesPerElement,
        ...(compression && compressed && onTheWire(compression, compressed)),
      },
    };
  },

  release: (freed, program) => ({
    reads: [],
    makes: [],
    frees:
      freed.memory === 'gradients'
        ? [blockGradients(freed.block, freed.micro), blockMemory(freed.block)]
        : [
            parameters(freed.block),
            ...(isFetched(freed.block, program) ? [fetchedParameters(freed.block)] : []),
          ],
  }),

  agree: (instruction, program) => {
    const { over } = instruction;
    const group = over ?? 'data';
    const elements = AGREED_ELEMENTS * (program.groups[group]?.length ?? 1);
    return {
      reads: [gradients, ...knownBefore(instruction, program)],
      makes: [{ value: over === undefined ? agreed : agreedOver(over) }],
      frees: [],
      starts: startName(instruction),
      collective: {
        kind: 'all-gather',
        group,
        subject: 'tally',
        elements,
        bytes: elements * FLOAT64_BYTES,
      },
    };
  },

  wait: ({ started }) => ({ reads: [], makes: [], frees: [], completes: startName(started) }),
};

/** What the ranks that agree must know of their own part: axis after axis, along which it grows. */
function knownBefore({ gradients: of, over }: Instruction<'agree'>, program: Program): readonly string[] {
  switch (over) {
    case undefined:
      return of === 'own'
        ? contributionsTo({ blocks: stageBlocks(program), carriesTally: true }, program)
        : [
            ...requiredScatters(program).map(scattered),
            ...requiredSums(program).map(({ block }) => summed(block)),
            ...requiredEvictions(program).map(({ block, micro }) => evictedGradients(block, micro)),
            ...lossesOf(program),
          ];
    case 'replicate':
      return gradientsOfGroup(program);
    case 'tensor':
      return gradientsOfData(program);
    case 'pipeline':
      return gradientsOfStage(program);
    default:
      return over satisfies never;
  }
}

/** Those that bring a block's gradients to their slices. */
function scattersOf(block: number, program: Program): readonly Instruction<'scatter'>[] {
  return requiredScatters(program).filter(({ part }) => program.sharding?.parts[part]?.block === block);
}

/** The slices of the momentum, which all ranks have as one. */
function gatherMomentum(instruction: Instruction<'gather'>, program: Program): Effects {
  const { block } = instruction;
  const elements = program.sharding === undefined ? 0 : rangeElements(program.sharding, block);
  return {
    reads: [optimizerStates],
    makes: [{ value: wholeMomentum(block) }],
    frees: [],
    starts: startName(instruction),
    collective: {
      kind: 'all-gather',
      group: 'data',
      subject: `momentum.${block}`,
      elements,
      bytes: elements * program.bytesPerElement,
    },
  };
}

/** What messages of gradients add to, and leave to the next. */
function errorsReadBy(
  { compression }: Instruction<'reduce' | 'scatter'>,
  { errorFeedback }: Program,
): readonly string[] {
  if (errorFeedback === undefined || !compression || !createCodec(compression).feedsBack) return [];
  return errorFeedback.isRestored ? [errors, errorsBefore] : [errors];
}

/** Of one element that blocks compute with. */
function parameterBytes({ precision, bytesPerElement }: Program): number {
  return precision?.bytesPerElement ?? bytesPerElement;
}

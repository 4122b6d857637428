import type { ActiveCompression } from '../comm/config.js';
import { TALLY_ELEMENTS } from '../nn/flat-layout.js';
import {
  type CompressedMessages,
  compressedAllReduce,
  compressedReduceScatter,
  compressionName,
} from './compressed-messages.js';
import type { Instruction, Operation } from './instruction.js';
import { startName } from './instruction.js';
import type { Bucket, GroupName, MixedPrecision, Program, ProgramBlock, Sharding } from './program.js';
import { bucketElements } from './program.js';
import { blocksUsedBy, isTrained, rangeElements, requiredScatters } from './sharding.js';

/**
 * What one instruction does to the rest of the step.
 *
 * [Note: values] Whatever an instruction makes is a named value ("output of block.2 micro 0"). A value is
 * absent, pending (a started instruction is making it) or present. It may be made only while absent, read
 * only while present, and made again only after it was freed. Gradients that add up in one buffer are one
 * value per contribution, so that "the gradient is complete" is "every contribution is present".
 *
 * A value with memory is an allocation: the step must leave exactly those that it found. One without is a
 * fact ("gradient norm"), which stays true until the step ends.
 */
export interface Effects {
  readonly reads: readonly string[];
  readonly makes: readonly Made[];
  readonly frees: readonly string[];
  /** Set when the instruction only starts: what it makes is pending and what it reads is held until the wait. */
  readonly starts?: string;
  /** The start that this instruction completes. */
  readonly completes?: string;
  readonly collective?: Collective;
}

/** A value that appears, with the memory that it takes. */
export interface Made {
  readonly value: string;
  readonly memory?: {
    readonly account: Account;
    readonly bytes: number;
    /** Taken from buffers that are kept for the next to use them (`standing-buffers.ts`); absent: allocated anew. */
    readonly pool?: 'messages' | 'blocks';
  };
}

/** The lines of the memory ledger. */
export type Account =
  | 'constants'
  | 'parameters'
  | 'masters'
  | 'gathered'
  | 'gradients'
  | 'optimizer'
  | 'constants'
  | 'buckets'
  | 'activations'
  | 'workspace'
  | 'batches';

/** What all ranks of a group must do together and in the same order. */
export interface Collective {
  readonly kind: 'all-reduce' | 'reduce-scatter' | 'all-gather';
  readonly group: GroupName;
  /** What is combined; it must be the same thing on every rank. */
  readonly subject: string;
  readonly elements: number;
  readonly bytes: number;
  /** What this rank sends; left out: the share of the bytes that the kind takes. */
  readonly sentBytes?: number;
  /** How the elements are compressed on the wire ("fp16 dynamic"). */
  readonly codec?: string;
}

/** What ranks agree on beside parameters and gradients: the tally, and the sum of squared gradients. */
const AGREED_ELEMENTS = TALLY_ELEMENTS + 1;
const FLOAT64_BYTES = 8;

/** The one place that knows what each operation needs, makes and frees. */
const EFFECTS: { readonly [Op in Operation]: (instruction: Instruction<Op>, program: Program) => Effects } = {
  clear: () => ({ reads: [gradients], makes: [{ value: cleared }], frees: [] }),

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
  }),

  backward: ({ block, micro }, program) => {
    const arriving = isLast(program, block) ? [] : [outputGradient(block, micro)];
    const previous = program.blocks[block - 1];
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
        { value: contribution(block, micro) },
        ...leaving,
        scratch(program.blocks[block]?.workspace?.backward),
      ],
      frees: [
        output(block, micro),
        graph(block, micro),
        ...arriving,
        ...(block === 0 ? [batch(micro)] : []),
        scratchName,
      ],
    };
  },

  reduce: (instruction, program) => {
    const bucket = program.buckets[instruction.bucket];
    const { compression } = instruction;
    const elements = bucket === undefined ? 0 : bucketElements(bucket);
    const compressed = bucket && compression && compressedAllReduce(bucket, compression, program);
    const messages =
      compressed !== undefined
        ? [messagesOf(instruction, compressed.memoryBytes)]
        : instruction.ordered
          ? [arrivingMessages(instruction, elements, program)]
          : [];
    return {
      reads: bucket === undefined ? [] : [gradients, ...contributionsTo(bucket, program)],
      makes: [{ value: reduced(instruction.bucket) }, ...messages],
      frees: messages.map(({ value }) => value),
      starts: startName(instruction),
      collective: {
        kind: 'all-reduce',
        group: 'data',
        subject: `bucket.${instruction.bucket}`,
        elements,
        bytes: elements * program.bytesPerElement,
        ...(compression && compressed && onTheWire(compression, compressed)),
      },
    };
  },

  cast: ({ block }) => ({ reads: [shards], makes: [{ value: parameters(block) }], frees: [] }),

  gather: (instruction, program) => {
    const { block } = instruction;
    const elements = program.sharding === undefined ? 0 : rangeElements(program.sharding, block);
    const bytes = elements * parameterBytes(program);
    const isKept = program.sharding?.parameters === 'kept';
    return {
      reads: [shards],
      makes: [
        isKept
          ? { value: parameters(block) }
          : { value: parameters(block), memory: { account: 'gathered', bytes, pool: 'blocks' } },
      ],
      frees: [],
      starts: startName(instruction),
      collective: { kind: 'all-gather', group: 'data', subject: `block.${block}`, elements, bytes },
    };
  },

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
    const { part: index, micro, compression } = instruction;
    const part = program.sharding?.parts[index];
    const ranks = program.groups.data.length;
    const elements = part === undefined ? 0 : (part.end - part.start) * ranks;
    const bytes = elements * program.bytesPerElement;
    const micros = micro === undefined ? microsOf(program) : [micro];
    const isKept = program.sharding?.gradients === 'kept';
    const compressed = part && compression && compressedReduceScatter(part, compression, program);
    const messages =
      compressed === undefined
        ? arrivingMessages(instruction, elements, program)
        : messagesOf(instruction, compressed.memoryBytes);
    return {
      reads:
        part === undefined
          ? []
          : [
              gradients,
              ...(isKept ? [] : [blockGradients(part.block, micro)]),
              ...part.blocks.flatMap((block) => micros.map((each) => contribution(block, each))),
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
        ...(compression && compressed && onTheWire(compression, compressed)),
      },
    };
  },

  release: (freed) => ({
    reads: [],
    makes: [],
    frees:
      freed.memory === 'parameters'
        ? [parameters(freed.block)]
        : [blockGradients(freed.block, freed.micro), blockMemory(freed.block)],
  }),

  agree: (instruction, program) => {
    const elements = AGREED_ELEMENTS * program.groups.data.length;
    return {
      reads: [gradients, ...requiredScatters(program).map(scattered), ...microsOf(program).map(loss)],
      makes: [{ value: agreed }],
      frees: [],
      starts: startName(instruction),
      collective: {
        kind: 'all-gather',
        group: 'data',
        subject: 'tally',
        elements,
        bytes: elements * FLOAT64_BYTES,
      },
    };
  },

  wait: ({ started }) => ({ reads: [], makes: [], frees: [], completes: startName(started) }),

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

  step: ({ unlessOverflow = false }, program) => ({
    reads: [
      gradientNorm,
      gradients,
      optimizerStates,
      ...(hasShards(program) ? [shards] : program.blocks.map((_, block) => parameters(block))),
      ...(unlessOverflow ? [checked] : []),
    ],
    makes: [{ value: update }],
    // What other ranks own and what is a copy is out of date from here on, until the next step makes it anew.
    frees: program.sharding?.parameters === 'released' ? [] : remade(program).map(parameters),
  }),
};

/** What the instruction needs, makes and frees as a part of the program. */
export function effectsOf<Op extends Operation>(instruction: Instruction<Op>, program: Program): Effects {
  return EFFECTS[instruction.op](instruction, program);
}

/** What is there before the first instruction, and must be there after the last. */
export function initialValues(program: Program): readonly Made[] {
  return [...initialState(program), ...initialConstants(program)];
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
  const made = new Set(remade(program));
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

/** The fact that the program is for. */
export function goalValue(program: Program): string {
  return program.goal === 'update' ? update : gradientNorm;
}

const constants = 'constants';
const gradients = 'gradient buffer';
const cleared = 'cleared gradients';
const gradientNorm = 'gradient norm';
const optimizerStates = 'optimizer states';
const update = 'updated parameters';
const shards = 'own slices of the parameters';
const computed = 'memory of the parameters to compute with';
const checked = 'check for overflow';
const agreed = 'agreed tally';
const parameters = (block: number) => `parameters of block.${block}`;
const batch = (micro: number) => `batch of micro ${micro}`;
const output = (block: number, micro: number) => `output of block.${block} micro ${micro}`;
const graph = (block: number, micro: number) => `graph of block.${block} micro ${micro}`;
const outputGradient = (block: number, micro: number) => `output gradient of block.${block} micro ${micro}`;
const contribution = (block: number, micro: number) => `gradients from block.${block} micro ${micro}`;
const loss = (micro: number) => `loss of micro ${micro}`;
const blockMemory = (block: number) => `gradient memory of block.${block}`;
const blockGradients = (block: number, micro: number | undefined) =>
  micro === undefined ? `gradients of block.${block}` : `gradients of block.${block} micro ${micro}`;
const scattered = (instruction: Instruction<'scatter'>) => `result of ${startName(instruction)}`;
const reduced = (bucket: number) => `reduced bucket.${bucket}`;
const scratchName = 'workspace';

/** What the other ranks send of their part of so many elements, of which this rank sums its slice. */
function arrivingMessages(
  instruction: Instruction<'reduce' | 'scatter'>,
  elements: number,
  { groups, bytesPerElement }: Program,
): Made {
  const ranks = groups.data.length;
  const bytes = (ranks - 1) * Math.ceil(elements / ranks) * bytesPerElement;
  return messagesOf(instruction, bytes, 'messages');
}

/** What an instruction takes on its way; it frees it itself. */
function scratch(bytes = 0): Made {
  return { value: scratchName, memory: { account: 'workspace', bytes } };
}

/** What a block keeps for its backward beside its output. */
function madeGraph(block: number, micro: number, program: Program): Made {
  const { activationBytes = 0, outputBytes = 0 } = program.blocks[block] ?? {};
  return {
    value: graph(block, micro),
    memory: { account: 'activations', bytes: Math.max(0, activationBytes - outputBytes) },
  };
}

/** Memory of a reduction that is under way. */
function messagesOf(instruction: Instruction<'reduce' | 'scatter'>, bytes: number, pool?: 'messages'): Made {
  return {
    value: `messages of ${startName(instruction)}`,
    memory: { account: 'buckets', bytes, ...(pool && { pool }) },
  };
}

function onTheWire(
  compression: ActiveCompression,
  { bytes, sentBytes }: CompressedMessages,
): Pick<Collective, 'bytes' | 'sentBytes' | 'codec'> {
  return { bytes, sentBytes, codec: compressionName(compression) };
}

/** Gradients as `clip` may use them: summed over the ranks, or as they are where there is no one to sum with. */
function finishedGradients(program: Program): readonly string[] {
  if (program.sharding !== undefined) return [agreed];
  if (program.buckets.length > 0) return program.buckets.map((_, index) => reduced(index));
  const everything = { blocks: program.blocks.map((_, index) => index), carriesTally: true };
  return contributionsTo(everything, program);
}

function contributionsTo(
  bucket: Pick<Bucket, 'blocks' | 'carriesTally'>,
  program: Program,
): readonly string[] {
  const micros = microsOf(program);
  return [
    ...bucket.blocks.flatMap((block) => micros.map((micro) => contribution(block, micro))),
    ...(bucket.carriesTally ? micros.map(loss) : []),
  ];
}

/** What a backward adds to must have been prepared for it: older gradients in the same memory are on their way. */
function gradientsToAddTo(block: number, micro: number, { sharding }: Program): readonly string[] {
  if (sharding?.gradients !== 'released') return [];
  return [blockGradients(block, sharding.reductions === 'every step' ? undefined : micro)];
}

function microsOf(program: Program): readonly number[] {
  return Array.from({ length: program.microBatches }, (_, micro) => micro);
}

/** Whether the parameters that blocks use are made in every step, from weights that are kept apart. */
function hasShards({ sharding, precision }: Program): boolean {
  return sharding !== undefined || precision !== undefined;
}

/** The blocks whose parameters are so made. */
function remade(program: Program): readonly number[] {
  const { blocks, sharding, precision } = program;
  if (sharding !== undefined) return [...blocks.keys()].filter((block) => rangeElements(sharding, block) > 0);
  return precision === undefined ? [] : [...blocks.keys()].filter((block) => isTrained(block, program));
}

/** Of one element that blocks compute with. */
function parameterBytes({ precision, bytesPerElement }: Program): number {
  return precision?.bytesPerElement ?? bytesPerElement;
}

function isLast(program: Program, block: number): boolean {
  return block === program.blocks.length - 1;
}

function trainedElements(block: ProgramBlock): number {
  return block.parameters
    .filter(({ owner, name, trainable }) => owner === name && trainable)
    .reduce((sum, { elements }) => sum + elements, 0);
}

import { AdaptedBlock } from '../nn/adapted-block.js';
import type { Activations, Block, MicroBatch, Model } from '../nn/block.js';
import { type FlatLayout, planFlatLayout } from '../nn/flat-layout.js';
import { FlatParameters, type FrozenMemory } from '../nn/flat-parameters.js';
import type { SequenceAxis } from '../nn/sequence-axis.js';
import { type BlockCosts, BlockMeter } from '../step/block-meter.js';
import type { StepInputs } from '../step/handlers/step-state.js';
import type { Instruction } from '../step/instruction.js';
import type { Program } from '../step/program.js';
import { runStep } from '../step/run-step.js';
import { shareConstants } from '../tensor/constant-memory/shared-memory.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import { zeros } from '../tensor/generated/functions.js';
import { randomState, setRandomState } from '../tensor/random.js';
import { keep } from '../tensor/tensor.js';
import { compileProgram } from './compile-program.js';
import { extrapolateCosts } from './extrapolate-costs.js';
import { type ProbedOutput, probedOutput } from './probed-output.js';

/** The size of one micro-batch. */
export interface MicroBatchShape {
  readonly rows: number;
  readonly length: number;
}

export interface MeasureOptions {
  /** What the blocks compute with; fp32 where left out. */
  readonly dtype?: DType;
  /** Elements of parameters times tokens above which a micro-batch is large. */
  readonly mostWork?: number;
  /** Whether backwards in halves are measured too. */
  readonly inHalves?: boolean;
  /** Of a micro-batch that has only the first of several parts of its sequences. */
  readonly sequenceAxis?: SequenceAxis | undefined;
}

/** Elements of parameters times tokens up to which a micro-batch is run as it is: a few hundred milliseconds. */
const MOST_WORK = 1e10;

/** The micro-batches that stand for larger ones: every combination of these rows and multiples of a length. */
const SAMPLE_ROWS = [1, 2] as const;
const SAMPLE_MULTIPLES = [1, 2, 3] as const;
const SAMPLE_TOKENS = (1 + 2) * (1 + 2 + 3);
const SHORTEST = 32;

/**
 * What each block of a model keeps and takes for one micro-batch, found by running it: one block of each kind,
 * with parameters of zeros, so that no model need be in memory. Where a micro-batch is large, a few small ones
 * are run in its place: bytes are a polynomial in rows and length, linear in the one, quadratic in the other.
 */
export function measureBlocks(
  model: Model,
  shape: MicroBatchShape,
  options: MeasureOptions = {},
): readonly BlockCosts[] {
  const kinds = kindsOf(model.blocks);
  const sample: Model = { ...model, blocks: kinds.map(({ first }) => first) };
  const costs = costsOfKinds(sample, shape, options);
  return model.blocks.flatMap((block) => {
    const kind = kinds.findIndex(({ members }) => members.has(block));
    return costs[kind] ?? [];
  });
}

interface Kind {
  readonly first: Block;
  /** Something is trained before it, so that its input wants a gradient. */
  readonly wantsGradient: boolean;
  readonly members: Set<Block>;
}

/** Blocks that run the same code on parameters of the same shapes. */
function kindsOf(blocks: readonly Block[]): readonly Kind[] {
  const kinds: Kind[] = [];
  let wantsGradient = false;
  for (const block of blocks) {
    const kind = kinds.find((each) => each.wantsGradient === wantsGradient && isAlike(each.first, block));
    if (kind === undefined) kinds.push({ first: block, wantsGradient, members: new Set([block]) });
    else kind.members.add(block);
    wantsGradient ||= block.parameters.some(({ frozen }) => frozen !== true);
  }
  return kinds;
}

function isAlike(left: Block, right: Block): boolean {
  const shapesOf = ({ parameters }: Block) =>
    parameters
      .map(({ name, shape, tiedTo = '', frozen = false }) => `${name} ${shape.join(',')} ${tiedTo} ${frozen}`)
      .join();
  const [code, other] = [codeOf(left), codeOf(right)];
  const isSameCode = code.length === other.length && code.every((each, index) => each === other[index]);
  return isSameCode && shapesOf(left) === shapesOf(right);
}

/** What runs when a block does: a block around others is no more than they are. */
function codeOf(block: Block): readonly Block['forward'][] {
  if (block instanceof AdaptedBlock) return codeOf(block.base);
  return [block.forward, ...(block.halves ?? []).flatMap(codeOf)];
}

function costsOfKinds(sample: Model, shape: MicroBatchShape, options: MeasureOptions): readonly BlockCosts[] {
  const layout = planFlatLayout(sample.blocks);
  const elements = layout.trainableElements + layout.frozenElements;
  const shapes = sampleShapes(shape, elements, options.mostWork ?? MOST_WORK, positionsDivisor(sample));
  const costs = runSamples(sample, layout, options, shapes);
  const samples = shapes.map((each, index) => ({ ...each, costs: costs[index] ?? [] }));
  return shapes.length === 1 ? (costs[0] ?? []) : extrapolateCosts(samples, shape);
}

/** The micro-batch itself, or those that stand for it. */
function sampleShapes(
  shape: MicroBatchShape,
  elements: number,
  mostWork: number,
  divisor: number,
): readonly MicroBatchShape[] {
  const affordable = Math.floor(mostWork / elements / SAMPLE_TOKENS);
  const longest = Math.min(Math.max(affordable, SHORTEST), Math.floor(shape.length / 3));
  const length = Math.floor(longest / divisor) * divisor;
  if (length === 0 || elements * shape.rows * shape.length <= mostWork) return [shape];
  return SAMPLE_ROWS.flatMap((rows) =>
    SAMPLE_MULTIPLES.map((multiple) => ({ rows, length: multiple * length })),
  );
}

/**
 * Runs one block of each kind on an empty micro-batch.
 *
 * @param see is called after every instruction, with the number of its block's kind; -1 for one without a block
 * @returns the number of a block's kind
 */
export function recordSample(
  model: Model,
  shape: MicroBatchShape,
  options: MeasureOptions,
  see: (op: string, kind: number) => void,
): (block: Block) => number {
  const kinds = kindsOf(model.blocks);
  const sample: Model = { ...model, blocks: kinds.map(({ first }) => first) };
  const layout = planFlatLayout(sample.blocks);
  const { instructions } = sampleProgram(sample, layout, false);
  runSamples(sample, layout, options, [shape], {
    record: (position) => {
      const instruction = instructions[position];
      if (instruction !== undefined) see(instruction.op, 'block' in instruction ? instruction.block : -1);
    },
  });
  return (block) => kinds.findIndex(({ members }) => members.has(block));
}

/** What every block hands on, for micro-batches of these shapes, one list for each shape. */
export function probeOutputs(
  model: Model,
  dtype: DType,
  shapes: readonly MicroBatchShape[],
): readonly (readonly ProbedOutput[])[] {
  const kinds = kindsOf(model.blocks);
  const sample: Model = { ...model, blocks: kinds.map(({ first }) => first) };
  const outputs = shapes.map(() => new Map<number, ProbedOutput>());
  runSamples(sample, planFlatLayout(sample.blocks), { dtype }, shapes, {
    see: (step, block, output) => outputs[step]?.set(block, probedOutput(output)),
  });
  return outputs.map((ofStep) =>
    model.blocks.map(
      (block) => ofStep.get(kinds.findIndex(({ members }) => members.has(block))) ?? new Map(),
    ),
  );
}

/** Who looks on while samples run. */
interface SampleWatch {
  readonly see?: (step: number, block: number, output: Activations) => void;
  /** Called after every instruction, with its position. */
  readonly record?: (position: number) => void;
}

/** For each shape a step in which everything is recomputed; before them one that makes tables which stay. */
function runSamples(
  model: Model,
  layout: FlatLayout,
  { dtype = 'float32', inHalves = false, sequenceAxis }: MeasureOptions,
  shapes: readonly MicroBatchShape[],
  { see, record }: SampleWatch = {},
): readonly (readonly BlockCosts[])[] {
  const program = sampleProgram(model, layout, inHalves);
  const parameters = new FlatParameters(layout, {
    dtype,
    gradientDtype: 'float32',
    device: 'cpu',
    gradients: true,
    ...(layout.frozenElements > 0 && { frozen: frozenZeros(layout, dtype) }),
  });
  const run = (shape: MicroBatchShape, record?: BlockMeter['record'], onOutput?: StepInputs['onOutput']) =>
    runStep(
      program,
      { blocks: model.blocks, parameters, ...(sequenceAxis && { sequenceAxis }) },
      { nextBatch: () => emptyBatch(shape), lossScale: 1, training: true, ...(onOutput && { onOutput }) },
      { step: 0, ...(record && { record }) },
    );
  const random = randomState();
  try {
    run({ rows: 1, length: Math.max(...shapes.map(({ length }) => length)) });
    return shapes.map((shape, step) => {
      const meter = new BlockMeter(program);
      run(
        shape,
        (timed) => {
          meter.record(timed);
          record?.(timed.position);
        },
        (block, _micro, output) => see?.(step, block, output),
      );
      return meter.costs();
    });
  } finally {
    setRandomState(random);
    parameters.dispose();
  }
}

/** As memory of its own, which goes back to the system when the sample does: other memory the process would keep. */
function frozenZeros({ frozenElements }: FlatLayout, dtype: DType): FrozenMemory {
  const bytes = frozenElements * DTYPES[dtype].bytes;
  const { memory } = shareConstants({ bytes, tensorBytes: bytes }, () => undefined);
  const buffer = keep(memory.tensor(0, [frozenElements], dtype));
  memory.close();
  return { buffer, apart: new Map() };
}

/** A program in which everything is recomputed; where backwards come in halves, those of a second micro-batch. */
function sampleProgram(model: Model, layout: FlatLayout, inHalves: boolean): Program {
  const program = compileProgram({
    rank: 0,
    mesh: { pipeline: 1, data: 1, tensor: 1 },
    goal: 'gradients',
    microBatches: inHalves ? 2 : 1,
    blocks: model.blocks.map(({ name }) => ({ name, activationBytes: 0, outputBytes: 0 })),
    layout,
    bytesPerElement: 4,
    batchBytes: 0,
    optimizerBytes: 0,
    schedule: {},
    recomputed: new Set(model.blocks.keys()),
    gradients: { bucketElements: 1, overlap: false },
    precision: { dtype: 'float32' },
  });
  return inHalves ? splitBackwards(program, 1) : program;
}

/** What the first halves of a micro-batch leave stays until all are through: nothing else is in that memory then. */
function splitBackwards(program: Program, micro: number): Program {
  const isSplit = (each: Instruction): each is Instruction<'backward'> =>
    each.op === 'backward' && each.micro === micro;
  const weights = program.instructions.filter(isSplit);
  const instructions = program.instructions.flatMap((each): readonly Instruction[] => {
    if (!isSplit(each)) return [each];
    const input: Instruction = { ...each, half: 'input' };
    return each === weights.at(-1)
      ? [input, ...weights.map((left): Instruction => ({ ...left, half: 'weights' }))]
      : [input];
  });
  return { ...program, instructions };
}

function emptyBatch({ rows, length }: MicroBatchShape): MicroBatch {
  const ids = () => zeros([rows, length], { dtype: 'int64' });
  return { inputIds: ids(), labels: ids() };
}

/** What every sequence's length must be a multiple of: over so many ranks positions are divided. */
export function positionsDivisor({ blocks }: Model): number {
  const divisions = blocks.flatMap(({ parameters }) => parameters.flatMap(({ division }) => division ?? []));
  const [axis] = divisions.map((division) => division.axis).filter(({ sequence }) => sequence);
  return axis?.size ?? 1;
}

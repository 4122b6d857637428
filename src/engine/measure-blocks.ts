import type { Block, MicroBatch, Model } from '../nn/block.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { FlatParameters } from '../nn/flat-parameters.js';
import { type BlockCosts, BlockMeter } from '../step/block-meter.js';
import type { Program } from '../step/program.js';
import { runStep } from '../step/run-step.js';
import { zeros } from '../tensor/generated/functions.js';
import { randomState, setRandomState } from '../tensor/random.js';
import { scope } from '../tensor/tensor.js';
import { compileProgram } from './compile-program.js';
import { extrapolateCosts } from './extrapolate-costs.js';

/** The size of one micro-batch. */
export interface MicroBatchShape {
  readonly rows: number;
  readonly length: number;
}

/** Elements of parameters times tokens up to which a micro-batch is run as it is: a few hundred milliseconds. */
const MOST_WORK = 1e10;

/** The rows and lengths that stand for larger micro-batches. */
const SAMPLE_ROWS = [1, 2] as const;
const SAMPLE_LENGTH = 32;

/**
 * What each block of a model keeps and takes for one micro-batch, found by running it: one block of each kind,
 * with parameters of zeros, so that no model need be in memory. Where a micro-batch is large, a few small ones
 * are run in its place: bytes are a polynomial in rows and length, linear in the one, quadratic in the other.
 */
export function measureBlocks(model: Model, shape: MicroBatchShape): readonly BlockCosts[] {
  const kinds = kindsOf(model.blocks);
  const sample: Model = { ...model, blocks: kinds.map(({ first }) => first) };
  const costs = costsOfKinds(sample, shape);
  return model.blocks.flatMap((block) => {
    const kind = kinds.findIndex(({ members }) => members.has(block));
    return costs[kind] ?? [];
  });
}

interface Kind {
  readonly first: Block;
  readonly members: Set<Block>;
}

/** Blocks that run the same code on parameters of the same shapes. */
function kindsOf(blocks: readonly Block[]): readonly Kind[] {
  const kinds: Kind[] = [];
  for (const block of blocks) {
    const kind = kinds.find(({ first }) => isAlike(first, block));
    if (kind === undefined) kinds.push({ first: block, members: new Set([block]) });
    else kind.members.add(block);
  }
  return kinds;
}

function isAlike(left: Block, right: Block): boolean {
  const shapesOf = ({ parameters }: Block) =>
    parameters.map(({ name, shape, tiedTo = '' }) => `${name} ${shape.join(',')} ${tiedTo}`).join();
  return left.forward === right.forward && shapesOf(left) === shapesOf(right);
}

function costsOfKinds(sample: Model, shape: MicroBatchShape): readonly BlockCosts[] {
  const { trainableElements } = planFlatLayout(sample.blocks);
  if (trainableElements * shape.rows * shape.length <= MOST_WORK) return runSample(sample, shape);
  const length = Math.min(SAMPLE_LENGTH, Math.floor(shape.length / 3));
  if (length === 0) return runSample(sample, shape);
  const samples = SAMPLE_ROWS.flatMap((rows) =>
    [1, 2, 3].map((factor) => {
      const small = { rows, length: factor * length };
      return { ...small, costs: runSample(sample, small) };
    }),
  );
  return extrapolateCosts(samples, shape);
}

/** One step in which everything is recomputed; before it another, which makes tables that stay for good. */
function runSample(model: Model, shape: MicroBatchShape): readonly BlockCosts[] {
  const layout = planFlatLayout(model.blocks);
  const program = sampleProgram(model, layout);
  const parameters = new FlatParameters(layout, { dtype: 'float32', device: 'cpu', gradients: true });
  const inputs = { nextBatch: () => emptyBatch(shape), lossScale: 1, training: true };
  const random = randomState();
  try {
    return scope(() => {
      runStep(program, { blocks: model.blocks, parameters }, inputs, { step: 0 });
      const meter = new BlockMeter(program);
      runStep(program, { blocks: model.blocks, parameters }, inputs, { step: 0, record: meter.record });
      return meter.costs();
    });
  } finally {
    setRandomState(random);
    parameters.dispose();
  }
}

function sampleProgram(model: Model, layout: ReturnType<typeof planFlatLayout>): Program {
  return compileProgram({
    rank: 0,
    worldSize: 1,
    goal: 'gradients',
    microBatches: 1,
    blocks: model.blocks.map(({ name }) => ({ name, activationBytes: 0, outputBytes: 0 })),
    layout,
    bytesPerElement: 4,
    batchBytes: 0,
    optimizerBytes: 0,
    schedule: {},
    recomputed: new Set(model.blocks.keys()),
    gradients: { bucketElements: 1, overlap: false },
  });
}

function emptyBatch({ rows, length }: MicroBatchShape): MicroBatch {
  const ids = () => zeros([rows, length], { dtype: 'int64' });
  return { inputIds: ids(), labels: ids() };
}

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { modelFromConfig } from '../models/registry.js';
import type { MicroBatch, Model } from '../nn/block.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { FlatParameters } from '../nn/flat-parameters.js';
import { OptimizerGroup } from '../optim/optimizer-group.js';
import { checkPrograms } from '../step/checker.js';
import { executeProgram } from '../step/executor.js';
import { type StepInputs, StepState } from '../step/handlers/step-state.js';
import { createHandlers } from '../step/handlers.js';
import type { Instruction } from '../step/instruction.js';
import type { Program } from '../step/program.js';
import { runStep } from '../step/run-step.js';
import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import type { DType } from '../tensor/dtype.js';
import { allocatedBytes, peakAllocatedBytes, resetPeakAllocatedBytes } from '../tensor/memory.js';
import { manualSeed } from '../tensor/random.js';
import { liveTensors, scope } from '../tensor/tensor.js';
import { compileProgram } from './compile-program.js';
import { constantBytes } from './frozen-memory.js';
import { measureBlocks } from './measure-blocks.js';

// A step whose backwards come in halves is the same step: the same bits, nothing left behind, the memory that was told.

const SHAPE = { rows: 3, length: 40 };
const MICRO_BATCHES = 3;
const STEPS = 3;
const VOCABULARY = 120;
const FLOAT = 4;
const TOLERANCE = 0.02;

const LLAMA = {
  model_type: 'llama',
  vocab_size: VOCABULARY,
  hidden_size: 48,
  intermediate_size: 130,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
};

/** Its head is its embedding, its biases and norms are added at once, and its dropout draws random numbers. */
const GPT2 = {
  model_type: 'gpt2',
  vocab_size: VOCABULARY,
  n_embd: 32,
  n_layer: 3,
  n_head: 4,
  n_positions: 64,
  resid_pdrop: 0.1,
  embd_pdrop: 0.2,
  attn_pdrop: 0.1,
};

/** When the products for weights are done: after their block's other half, their micro-batch's, or the next one's. */
type Order = 'block' | 'micro-batch' | 'next micro-batch';

interface Subject {
  readonly model: Model;
  /** Absent: backwards are whole. */
  readonly order?: Order;
  readonly recomputed?: readonly number[];
  readonly dtype?: DType;
}

function programOf({ model, order, recomputed = [], dtype = 'float32' }: Subject): Program {
  const layout = planFlatLayout(model.blocks);
  const costs = measureBlocks(model, SHAPE, { dtype, inHalves: true });
  const program = compileProgram({
    rank: 0,
    mesh: { pipeline: 1, data: 1, tensor: 1 },
    goal: dtype === 'float32' ? 'update' : 'gradients',
    microBatches: MICRO_BATCHES,
    blocks: model.blocks.map(({ name }, index) => {
      const cost = costs[index];
      assert.ok(cost);
      return { name, ...cost };
    }),
    layout,
    bytesPerElement: FLOAT,
    batchBytes: 2 * 8 * SHAPE.rows * SHAPE.length,
    optimizerBytes: 2 * FLOAT * layout.trainableElements,
    constantBytes: constantBytes(model, layout, SHAPE.length, dtype),
    schedule: { maximumNorm: 1 },
    recomputed: new Set(recomputed),
    gradients: { bucketElements: 1, overlap: false },
    precision: { dtype: 'float32' },
  });
  return order === undefined ? program : inHalves(program, order);
}

/** The first block's stay whole: nobody waits for the gradient of its input. */
function inHalves(program: Program, order: Order): Program {
  let waiting: readonly Instruction<'backward'>[] = [];
  const takeUpTo = (micro: number): readonly Instruction[] => {
    const due = waiting.filter((each) => each.micro <= micro);
    waiting = waiting.filter((each) => each.micro > micro);
    return due;
  };
  const instructions = program.instructions.flatMap((each): readonly Instruction[] => {
    if (each.op === 'clip') return [...takeUpTo(MICRO_BATCHES), each];
    if (each.op !== 'backward') return [each];
    if (each.block === 0) return [...takeUpTo(order === 'micro-batch' ? each.micro : each.micro - 1), each];
    const weights = { ...each, half: 'weights' } as const;
    if (order === 'block') return [{ ...each, half: 'input' }, weights];
    waiting = [...waiting, weights];
    return [{ ...each, half: 'input' }];
  });
  return { ...program, instructions };
}

function batchOf(step: number, micro: number): MicroBatch {
  const { rows, length } = SHAPE;
  const ids = Array.from({ length: rows * length }, (_, i) => (i * (7 + micro) + 31 * step) % VOCABULARY);
  return {
    inputIds: tensor(BigInt64Array.from(ids, BigInt), [rows, length]),
    labels: tensor(
      BigInt64Array.from(ids, (id, i) => (i % 5 === micro ? -100n : BigInt((id + 3) % VOCABULARY))),
      [rows, length],
    ),
  };
}

function inputsOf(step: number): StepInputs {
  return {
    nextBatch: (micro) => batchOf(step, micro),
    lossScale: 1 / 512,
    training: true,
    update: { step: step + 1, learningRate: 1e-3 },
  };
}

function makeParameters({ model, dtype = 'float32' }: Subject): FlatParameters {
  const parameters = new FlatParameters(planFlatLayout(model.blocks), {
    dtype,
    gradientDtype: 'float32',
    device: 'cpu',
    gradients: true,
  });
  manualSeed(3);
  noGrad(() => scope(() => parameters.values.normal_(0, 0.05)));
  return parameters;
}

interface Outcome {
  readonly weights: Buffer;
  readonly gradients: Buffer;
  /** Of the last step, beside what was there before everything. */
  readonly peak: number;
  readonly predicted: number;
}

function train(subject: Subject): Outcome {
  const program = programOf(subject);
  const [report] = checkPrograms([program]);
  assert.ok(report);
  const { model, dtype } = subject;
  const constants = constantBytes(model, planFlatLayout(model.blocks), SHAPE.length, dtype ?? 'float32');
  // Measuring has made the tables already.
  const before = allocatedBytes() - constants;
  const parameters = makeParameters(subject);
  const { gradients } = parameters;
  assert.ok(gradients);
  const params = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weight_decay: 0.1 } as const;
  const memory = { parameters: parameters.values, gradients: gradients.values };
  const optimizer = new OptimizerGroup({ type: 'AdamW', params }, [memory]);
  for (let step = 0; step < STEPS; step += 1) {
    const [tensors, bytes] = [liveTensors(), allocatedBytes()];
    resetPeakAllocatedBytes();
    runStep(program, { blocks: model.blocks, parameters, optimizer }, inputsOf(step), { step });
    // The first one makes matrices of neighbouring parameters, which stay.
    if (step > 0) assert.equal(liveTensors(), tensors);
    assert.equal(allocatedBytes(), bytes, 'a step ends as it began');
  }
  const outcome = {
    weights: Buffer.from(parameters.values.toBytes()),
    gradients: Buffer.from(gradients.values.toBytes()),
    peak: peakAllocatedBytes() - before,
    predicted: report.peak.bytes,
  };
  optimizer.dispose();
  parameters.dispose();
  return outcome;
}

const CASES: readonly {
  readonly name: string;
  readonly subject: Subject;
  readonly orders: readonly Order[];
}[] = [
  {
    name: 'Llama',
    subject: { model: modelFromConfig(LLAMA) },
    orders: ['block', 'micro-batch', 'next micro-batch'],
  },
  {
    name: 'Llama, some of it recomputed',
    subject: { model: modelFromConfig(LLAMA), recomputed: [0, 2, 4] },
    orders: ['micro-batch', 'next micro-batch'],
  },
  // A tied head adds to what the embedding adds to: the sums are the same in the same order alone.
  {
    name: 'GPT-2',
    subject: { model: modelFromConfig(GPT2), recomputed: [1] },
    orders: ['block', 'micro-batch'],
  },
];

describe('a step with backwards in halves', { concurrency: 1 }, () => {
  for (const { name, subject, orders } of CASES) {
    test(`${name}: the same weights and gradients, and the memory that the ledger says`, () => {
      const whole = train(subject);
      near(whole.peak, whole.predicted);
      for (const order of orders) {
        const halves = train({ ...subject, order });
        assert.ok(halves.gradients.equals(whole.gradients), `gradients, ${order}`);
        assert.ok(halves.weights.equals(whole.weights), `weights, ${order}`);
        near(halves.peak, halves.predicted);
        if (order !== 'block') assert.ok(halves.peak > whole.peak, 'what waits takes memory');
      }
    });

    test(`${name}: the same gradients in bfloat16`, () => {
      const whole = train({ ...subject, dtype: 'bfloat16' });
      for (const order of orders) {
        const halves = train({ ...subject, order, dtype: 'bfloat16' });
        assert.ok(halves.gradients.equals(whole.gradients), order);
        near(whole.predicted + halves.peak - whole.peak, halves.predicted);
      }
    });
  }
});

test('a step that fails between the halves frees what waits', () => {
  const subject: Subject = { model: modelFromConfig(LLAMA), order: 'next micro-batch' };
  const program = programOf(subject);
  const parameters = makeParameters(subject);
  const run = (count: number): number => {
    const state = new StepState({ blocks: subject.model.blocks, parameters }, inputsOf(0));
    const part = { ...program, instructions: program.instructions.slice(0, count) };
    executeProgram(part, createHandlers(program, state), { step: 0, runScoped: scope });
    const bytes = allocatedBytes();
    state.dispose();
    return bytes;
  };
  const end = program.instructions.findIndex((each) => each.op === 'load' && each.micro === 1);
  // The first run makes matrices of neighbouring parameters, which stay.
  run(end);
  const [tensors, bytes] = [liveTensors(), allocatedBytes()];
  const held = run(end) - bytes;
  const deferred = program.blocks.slice(1).reduce((sum, { deferredBytes = 0 }) => sum + deferredBytes, 0);
  assert.equal(held, deferred, 'between two micro-batches nothing else is there');
  assert.deepEqual([liveTensors(), allocatedBytes()], [tensors, bytes]);
  parameters.dispose();
});

function near(got: number, expected: number): void {
  assert.ok(Math.abs(got / expected - 1) <= TOLERANCE, `${got} bytes for ${expected}`);
}

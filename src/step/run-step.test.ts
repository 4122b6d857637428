import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Work } from '../comm/work.js';
import type { Activations, Block, MicroBatch } from '../nn/block.js';
import { planFlatLayout, TALLY_ELEMENTS } from '../nn/flat-layout.js';
import { FlatParameters } from '../nn/flat-parameters.js';
import { gradientsOf, noGrad, onGradient } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { keep, liveTensors, scope, type Tensor } from '../tensor/tensor.js';
import { checkPrograms } from './checker.js';
import { emptyProgram, laidOut } from './empty-program.js';
import type { StepResources } from './handlers/step-state.js';
import { schedule } from './passes/schedule.js';
import type { Program } from './program.js';
import { runStep } from './run-step.js';

const initializer = { kind: 'constant', value: 0 } as const;
const VOCABULARY = 5;
const FEATURES = 3;

/** embedding → product with a side channel → head tied to the embedding. */
const BLOCKS: readonly Block[] = [
  {
    name: 'embedding',
    parameters: [{ name: 'weight', shape: [VOCABULARY, FEATURES], initializer }],
    forward: (parameters, _, { batch }) => {
      const hidden = parameters.get('weight').value.indexSelect(0, batch.inputIds.flatten());
      return { hidden, shortcut: hidden.mul(0.5) };
    },
  },
  {
    name: 'layer',
    parameters: [
      { name: 'weight', shape: [FEATURES, FEATURES], initializer },
      { name: 'unused', shape: [2], initializer },
    ],
    forward: (parameters, { hidden, shortcut }) => {
      assert.ok(hidden && shortcut);
      return { hidden: hidden.matmul(parameters.get('weight').value.t()).tanh(), shortcut };
    },
  },
  {
    name: 'head',
    parameters: [
      { name: 'weight', shape: [VOCABULARY, FEATURES], initializer, tiedTo: 'embedding.weight' },
      { name: 'bias', shape: [VOCABULARY], initializer },
    ],
    forward: (parameters, { hidden, shortcut }, { batch, lossScale, wantLogits }): Activations => {
      assert.ok(hidden && shortcut && batch.labels);
      const weight = parameters.get('weight').value;
      const logits = hidden.add(shortcut).matmul(weight.t()).add(parameters.get('bias').value);
      const loss = logits.crossEntropyLoss(batch.labels.flatten(), null, 2, -100).mul(lossScale);
      return wantLogits ? { loss, logits } : { loss };
    },
  },
];
const LAYOUT = planFlatLayout(BLOCKS);

const MICRO_BATCHES = [
  { inputIds: [0n, 1n, 2n, 3n], labels: [1n, 2n, 3n, -100n] },
  { inputIds: [4n, 4n, 0n, 1n], labels: [4n, -100n, -100n, 2n] },
];

function program(microBatches: number, changes: Partial<Program> = {}): Program {
  return schedule({ maximumNorm: 0.01 })(
    emptyProgram({
      microBatches,
      ...laidOut(BLOCKS, LAYOUT),
      ...changes,
    }),
  );
}

function batchOf(micro: number): MicroBatch {
  const batch = MICRO_BATCHES[micro];
  assert.ok(batch);
  return {
    inputIds: tensor(BigInt64Array.from(batch.inputIds), [2, 2]),
    labels: tensor(BigInt64Array.from(batch.labels), [2, 2]),
  };
}

function makeParameters(): FlatParameters {
  const parameters = new FlatParameters(LAYOUT, { dtype: 'float32', device: 'cpu', gradients: true });
  scope(() => {
    const values = Array.from({ length: LAYOUT.trainableElements }, (_, index) => Math.sin(index + 1));
    noGrad(() => parameters.values.copy_(tensor(values)));
  });
  return parameters;
}

/** Mean loss and its gradient, from one graph over all blocks and all micro-batches. */
function reference(parameters: FlatParameters, micros: readonly number[]) {
  const losses = micros.map((micro) => {
    const context = { batch: batchOf(micro), lossScale: 1, training: true, wantLogits: false };
    let activations: Activations = {};
    for (const [index, block] of BLOCKS.entries()) {
      const own = parameters.blocks[index];
      assert.ok(own);
      activations = block.forward(own, activations, context);
    }
    assert.ok(activations.loss);
    return activations.loss;
  });
  const tokens = micros.flatMap((micro) => MICRO_BATCHES[micro]?.labels ?? []).filter((label) => label >= 0n);
  const loss = losses.reduce((sum, each) => sum.add(each)).mul(1 / tokens.length);
  const leaves = parameters.parameters.map((parameter) => parameter.value);
  const gradients = gradientsOf([loss], leaves, undefined, { allowUnused: true });
  return {
    loss: loss.item(),
    tokens: tokens.length,
    gradients: gradients.flatMap(
      (gradient, index) => gradient?.toArray() ?? new Array<number>(leaves[index]?.elements ?? 0).fill(0),
    ),
  };
}

function close(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 1e-6 * Math.max(1, Math.abs(expected)), `${actual} ≠ ${expected}`);
}

/** An optimizer that writes down what it was told. */
function recorder() {
  const updates: { learningRate: number; gradientScale: number; step: number }[] = [];
  return { updates, optimizer: { step: (update: (typeof updates)[number]) => void updates.push(update) } };
}

const INPUTS = {
  nextBatch: batchOf,
  lossScale: 1 / 8,
  training: true,
  update: { step: 3, learningRate: 0.1 },
};

test('a step finds the mean loss, its gradient, its norm and the clipped scale', () => {
  scope(() => {
    const parameters = makeParameters();
    const { updates, optimizer } = recorder();
    const compiled = program(2);
    checkPrograms([compiled]);
    const resources = { blocks: BLOCKS, parameters, optimizer };
    const metrics = runStep(compiled, resources, INPUTS, { step: 3 });
    const gradients = parameters.parameters.flatMap(({ gradient }) => gradient?.toArray() ?? []);

    const expected = reference(parameters, [0, 1]);
    close(metrics.loss, expected.loss);
    assert.equal(metrics.tokens, expected.tokens);
    const norm = Math.hypot(...expected.gradients);
    close(metrics.gradientNorm, norm);
    const meanScale = 8 / expected.tokens;
    for (const [index, gradient] of gradients.entries()) {
      close(gradient * meanScale, expected.gradients[index] ?? Number.NaN);
    }
    assert.ok(expected.gradients.filter((gradient) => gradient !== 0).length > 20);
    assert.equal(updates.length, 1);
    assert.deepEqual([updates[0]?.step, updates[0]?.learningRate], [3, 0.1]);
    close(updates[0]?.gradientScale ?? Number.NaN, (meanScale * 0.01) / (norm + 1e-6));
    assert.deepEqual(runStep(compiled, resources, INPUTS, { step: 4 }), metrics, 'a step starts clean');
    parameters.dispose();
  });
});

test('buckets that are summed over two ranks give the gradient of both ranks’ tokens', () => {
  scope(() => {
    const parameters = makeParameters();
    const peer = makeParameters();
    const alone: StepResources = { blocks: BLOCKS, parameters: peer };
    const onlySecond = { ...INPUTS, nextBatch: () => batchOf(1), votesToStop: true };
    runStep(program(1, { goal: 'gradients' }), alone, onlySecond, { step: 0 });

    const buckets = [
      { start: 32, end: LAYOUT.trainableElements, parameters: [], blocks: [2], carriesTally: true },
      { start: 0, end: 32, parameters: [], blocks: [0, 1, 2], carriesTally: false },
    ];
    const base = program(1, { goal: 'gradients' });
    const clipAt = base.instructions.findIndex(({ op }) => op === 'clip');
    const instructions = [...base.instructions];
    const starts = [1, 0].map((bucket) => ({ op: 'reduce', bucket }) as const);
    instructions.splice(clipAt, 0, ...starts, ...starts.map((started) => ({ op: 'wait', started }) as const));
    const compiled: Program = { ...base, groups: { data: [0, 1] }, worldSize: 2, buckets, instructions };
    checkPrograms([compiled]);

    const group = peerGroup(parameters, peer);
    const metrics = runStep(compiled, { blocks: BLOCKS, parameters, group }, INPUTS, { step: 0 });
    const expected = reference(parameters, [0, 1]);
    close(metrics.loss, expected.loss);
    assert.equal(metrics.tokens, expected.tokens);
    assert.equal(metrics.stopVotes, 1);
    close(metrics.gradientNorm, Math.hypot(...expected.gradients));
    parameters.dispose();
    peer.dispose();
  });
});

test('steps leave no tensor behind, whatever they compute', () => {
  const parameters = makeParameters();
  const { optimizer } = recorder();
  const compiled = program(2);
  const seen: string[][] = [];
  const inputs = {
    ...INPUTS,
    wantLogits: true,
    onOutput: (_: number, __: number, output: Activations) => void seen.push(Object.keys(output)),
  };
  runStep(compiled, { blocks: BLOCKS, parameters, optimizer }, inputs, { step: 0 });
  const before = liveTensors();
  for (let step = 1; step < 20; step += 1) {
    runStep(compiled, { blocks: BLOCKS, parameters, optimizer }, inputs, { step });
  }
  assert.equal(liveTensors(), before);
  assert.deepEqual(seen[2], ['loss', 'logits']);
  parameters.dispose();
});

test('a step that fails leaves no tensor behind, wherever it fails', () => {
  const parameters = makeParameters();
  const compiled = program(2);
  const { optimizer } = recorder();
  const run = (blocks: readonly Block[], inputs = INPUTS) =>
    runStep(compiled, { blocks, parameters, optimizer }, inputs, { step: 0 });
  run(BLOCKS);
  const before = liveTensors();
  for (const block of BLOCKS) {
    for (const failsIn of ['forward', 'backward'] as const) {
      for (const micro of [0, 1]) {
        let runs = 0;
        const failing: Block = {
          ...block,
          forward: (...given) => {
            const output = block.forward(...given);
            runs += 1;
            if (runs !== micro + 1) return output;
            if (failsIn === 'forward') throw new RangeError('mine');
            const [[name, tensor] = []] = Object.entries(output);
            assert.ok(name && tensor);
            onGradient(tensor, () => {
              throw new RangeError('mine');
            });
            return output;
          },
        };
        assert.throws(() => run(BLOCKS.map((each) => (each === block ? failing : each))), {
          code: 'STEP_FAILED',
          message: /mine/,
        });
        assert.equal(liveTensors(), before, `${failsIn} of ${block.name}, micro-batch ${micro}`);
      }
    }
  }
  const nextBatch = (micro: number) => (micro === 0 ? batchOf(0) : assert.fail('no more'));
  assert.throws(() => run(BLOCKS, { ...INPUTS, nextBatch }), { code: 'STEP_FAILED' });
  assert.equal(liveTensors(), before);
  parameters.dispose();
});

test('a batch without any target has no loss and no gradient, and does not divide by zero', () => {
  scope(() => {
    const parameters = makeParameters();
    const nextBatch = () => ({
      inputIds: tensor(BigInt64Array.from([0n, 1n]), [1, 2]),
      labels: tensor(BigInt64Array.from([-100n, -100n]), [1, 2]),
    });
    const resources = { blocks: BLOCKS, parameters };
    const metrics = runStep(
      program(1, { goal: 'gradients' }),
      resources,
      { ...INPUTS, nextBatch },
      { step: 0 },
    );
    for (const [name, value] of Object.entries(metrics)) assert.equal(value, 0, name);
    parameters.dispose();
  });
});

/** A group whose other member has computed its gradients already. */
function peerGroup(own: FlatParameters, peer: FlatParameters) {
  return {
    allGather: () => assert.fail('nothing is gathered'),
    reduceScatter: () => assert.fail('nothing is scattered'),
    allToAll: () => assert.fail('nothing is exchanged'),
    rank: 0,
    worldSize: 2,
    send: () => assert.fail('nothing is sent'),
    receive: () => assert.fail('nothing is received'),
    allReduce: (range: Tensor): Work => {
      const target = keep(range.alias());
      return {
        wait: () => {
          assert.ok(own.gradients && peer.gradients);
          const isTail = target.elements === LAYOUT.trainableElements - 32 + TALLY_ELEMENTS;
          const other = peer.gradients.buffer.narrow(0, isTail ? 32 : 0, target.elements);
          target.add_(other);
          target.dispose();
        },
      };
    },
  };
}

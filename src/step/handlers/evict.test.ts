import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Activations, Block, BlockParameters, MicroBatch } from '../../nn/block.js';
import { planFlatLayout } from '../../nn/flat-layout.js';
import { FlatParameters } from '../../nn/flat-parameters.js';
import { noGrad } from '../../tensor/autograd.js';
import { tensor } from '../../tensor/create.js';
import { dropout } from '../../tensor/generated/functions.js';
import { allocatedBytes } from '../../tensor/memory.js';
import { manualSeed } from '../../tensor/random.js';
import { liveTensors, scope, type Tensor } from '../../tensor/tensor.js';
import { checkPrograms } from '../checker.js';
import { emptyProgram, laidOut } from '../empty-program.js';
import { executeProgram } from '../executor.js';
import { createHandlers } from '../handlers.js';
import type { Instruction, MovedOutput } from '../instruction.js';
import { instructionText } from '../instruction-text.js';
import { schedule } from '../passes/schedule.js';
import type { Program } from '../program.js';
import { StepState } from './step-state.js';

const WIDTH = 24;
const initializer = { kind: 'constant', value: 0 } as const;

function layer(name: string, mix: (hidden: Tensor, parameters: BlockParameters) => Tensor): Block {
  return {
    name,
    parameters: [{ name: 'weight', shape: [WIDTH, WIDTH], initializer }],
    forward: (parameters, { hidden, ids }): Activations => {
      assert.ok(hidden && ids);
      return { hidden: mix(hidden, parameters), ids };
    },
  };
}

/** Outputs that a graph needs itself, that are views, strided or random; token ids go along with all of them. */
const BLOCKS: readonly Block[] = [
  {
    name: 'embedding',
    parameters: [{ name: 'weight', shape: [5, WIDTH], initializer }],
    forward: (parameters, _, { batch }) => {
      const ids = batch.inputIds.flatten();
      return { hidden: dropout(parameters.get('weight').value.indexSelect(0, ids), 0.4, true), ids };
    },
  },
  layer('sum', (hidden, parameters) => hidden.matmul(parameters.get('weight').value).add(hidden)),
  layer('bounded', (hidden, parameters) => hidden.matmul(parameters.get('weight').value).tanh()),
  layer('turned', (hidden, parameters) => parameters.get('weight').value.matmul(hidden.t()).t()),
  layer('random', (hidden, parameters) =>
    dropout(hidden.matmul(parameters.get('weight').value), 0.3, true).add(hidden),
  ),
  {
    name: 'head',
    parameters: [{ name: 'weight', shape: [5, WIDTH], initializer, tiedTo: 'embedding.weight' }],
    forward: (parameters, { hidden, ids }, { batch, lossScale }): Activations => {
      assert.ok(hidden && ids && batch.labels);
      const logits = hidden.matmul(parameters.get('weight').value.t());
      return { loss: logits.crossEntropyLoss(batch.labels.flatten(), null, 2, -100).mul(lossScale) };
    },
  },
];

const LAYOUT = planFlatLayout(BLOCKS, () => false);

/** Some blocks are recomputed; of their inputs these are on the host from forward to backward. */
function program(recomputed: readonly number[], evicted: readonly number[]): Program {
  const base = schedule({})(
    emptyProgram({
      goal: 'gradients',
      microBatches: 2,
      ...laidOut(BLOCKS, LAYOUT),
    }),
  );
  const moved = (op: 'evict' | 'fetch', block: number, micro: number): readonly Instruction[] => {
    if (!evicted.includes(block)) return [];
    const value: MovedOutput = { memory: 'output', block, micro };
    const start = { op, ...value };
    return [start, { op: 'wait', started: start }];
  };
  const instructions = base.instructions.flatMap((instruction): readonly Instruction[] => {
    if (instruction.op !== 'forward' && instruction.op !== 'backward') return [instruction];
    const { op, block, micro } = instruction;
    if (!recomputed.includes(block)) return [instruction];
    if (op === 'forward') return [{ ...instruction, drop: true }, ...moved('evict', block - 1, micro)];
    return [...moved('fetch', block - 1, micro), { op: 'recompute', block, micro }, instruction];
  });
  const compiled = { ...base, instructions };
  checkPrograms([compiled]);
  return compiled;
}

function nextBatch(micro: number): MicroBatch {
  const ids = (values: readonly number[]) => tensor(BigInt64Array.from(values, BigInt), [2, 2]);
  return { inputIds: ids([0, 1, 2, 3 + micro]), labels: ids([1, 2, 3, -100]) };
}

/** Runs a step and returns its loss and gradients. `see` is told of every instruction that has run. */
function run(
  compiled: Program,
  see: (text: string, state: StepState) => void = () => undefined,
): { readonly loss: number | undefined; readonly gradients: readonly number[] | undefined } {
  const parameters = new FlatParameters(LAYOUT, { dtype: 'float32', device: 'cpu', gradients: true });
  return scope(() => {
    const values = Array.from({ length: parameters.values.elements }, (_, index) => Math.sin(index + 1) / 5);
    noGrad(() => parameters.values.copy_(tensor(values)));
    manualSeed(7);
    const state = new StepState(
      { blocks: BLOCKS, parameters },
      { nextBatch, lossScale: 1 / 4, training: true },
    );
    try {
      executeProgram(compiled, createHandlers(compiled, state), {
        step: 1,
        runScoped: scope,
        record: ({ position }) => {
          const instruction = compiled.instructions[position];
          if (instruction !== undefined) see(instructionText(instruction), state);
        },
      });
      return { loss: state.metrics?.loss, gradients: parameters.gradients?.buffer.toArray() };
    } finally {
      state.dispose();
      parameters.dispose();
    }
  });
}

const RECOMPUTED = [[1], [2], [3], [4], [1, 2, 3, 4], [2, 4], [1, 3, 5]];

test('whatever is moved, loss and gradients are the same to the last bit', () => {
  const kept = run(program([], []));
  assert.ok(kept.gradients?.some((value) => value !== 0));
  for (const recomputed of RECOMPUTED) {
    const inputs = recomputed.map((block) => block - 1);
    for (const evicted of [inputs, inputs.slice(0, 1), inputs.slice(-1)]) {
      assert.deepEqual(run(program(recomputed, evicted)), kept, `${recomputed} with ${evicted} on the host`);
    }
  }
});

test('an output moves to other memory and back, bit by bit, and leaves nothing where it was', () => {
  const name = 'block.1 output micro 1';
  // Of a block that keeps its graph, and of one that is recomputed itself.
  for (const recomputed of [[2], [1, 2]]) {
    const seen = new Map<string, { readonly bytes: number; readonly output: Tensor['shape'] }>();
    let before: Uint8Array = new Uint8Array();
    let onHost: Uint8Array = new Uint8Array();
    let after: Uint8Array = new Uint8Array();
    let ids: readonly number[] = [];
    run(program(recomputed, [1]), (text, state) => {
      if (!text.includes('block.1 micro 1') && !text.includes(name)) return;
      if (text.startsWith('backward')) return;
      const { hidden, ids: passedOn } = state.forwards.get(1, 1).output;
      assert.ok(hidden && passedOn);
      seen.set(text, { bytes: allocatedBytes(), output: hidden.shape });
      if (text.startsWith('forward')) before = hidden.toBytes();
      if (text === `wait evict ${name}`) {
        const copies = state.evicted.get(1, 1);
        assert.deepEqual(Object.keys(copies), ['hidden'], 'what is no floating-point number stays');
        onHost = copies.hidden?.toBytes() ?? onHost;
        ids = passedOn.toArray();
      }
      if (text === `wait fetch ${name}`) {
        after = hidden.toBytes();
        assert.throws(() => state.evicted.get(1, 1), /there is no evicted output 1 1/);
      }
    });
    const at = (text: string) => seen.get(text) ?? assert.fail(`${text} did not run`);
    assert.equal(before.length, 4 * WIDTH * 4);
    assert.deepEqual(onHost, before);
    assert.deepEqual(after, before);
    assert.deepEqual(ids, [0, 1, 2, 4]);
    assert.deepEqual(at(`wait evict ${name}`).output, [0]);
    assert.deepEqual(at(`wait fetch ${name}`).output, [4, WIDTH]);
    const taken = at(`evict ${name} start`).bytes;
    assert.equal(taken - at(`wait evict ${name}`).bytes, before.length, 'the device has its memory back');
    const both = at(`fetch ${name} start`).bytes;
    assert.equal(both - at(`wait fetch ${name}`).bytes, before.length, 'and then the host');
  }
});

test('no tensor is left behind, not even by a step that fails while something is away or under way', () => {
  const compiled = program([1, 2, 3, 4], [0, 1, 2, 3]);
  run(compiled);
  const before = liveTensors();
  run(compiled);
  const starts = compiled.instructions.map(instructionText).filter((text) => /evict|fetch/.test(text));
  assert.ok(starts.length > 10);
  for (const failing of starts) {
    const fail = (text: string): void => {
      if (text === failing) throw new RangeError('as asked');
    };
    assert.throws(() => run(compiled, fail), /as asked/);
  }
  assert.equal(liveTensors(), before);
});

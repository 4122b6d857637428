import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Activations, Block, MicroBatch } from '../../nn/block.js';
import { planFlatLayout } from '../../nn/flat-layout.js';
import { FlatParameters } from '../../nn/flat-parameters.js';
import { noGrad } from '../../tensor/autograd.js';
import { tensor } from '../../tensor/create.js';
import { dropout } from '../../tensor/generated/functions.js';
import { manualSeed, randomState } from '../../tensor/random.js';
import { liveTensors, scope } from '../../tensor/tensor.js';
import { checkPrograms } from '../checker.js';
import { emptyProgram, laidOut } from '../empty-program.js';
import type { Instruction } from '../instruction.js';
import { schedule } from '../passes/schedule.js';
import type { Program } from '../program.js';
import { runStep } from '../run-step.js';

const initializer = { kind: 'constant', value: 0 } as const;

/** Rows of a table, then a layer with dropout that hands `ids` and `hidden` on, then a head that draws too. */
const BLOCKS: readonly Block[] = [
  {
    name: 'embedding',
    parameters: [{ name: 'weight', shape: [5, 3], initializer }],
    forward: (parameters, _, { batch }) => {
      const ids = batch.inputIds.flatten();
      const hidden = dropout(parameters.get('weight').value.indexSelect(0, ids), 0.4, true);
      return { hidden, ids };
    },
  },
  {
    name: 'layer',
    parameters: [{ name: 'weight', shape: [3, 3], initializer }],
    forward: (parameters, { hidden, ids }): Activations => {
      assert.ok(hidden && ids);
      const mixed = dropout(hidden.matmul(parameters.get('weight').value).tanh(), 0.3, true);
      return { hidden: mixed, shortcut: hidden, ids };
    },
  },
  {
    name: 'head',
    parameters: [{ name: 'weight', shape: [5, 3], initializer, tiedTo: 'embedding.weight' }],
    forward: (parameters, { hidden, shortcut, ids }, { batch, lossScale }): Activations => {
      assert.ok(hidden && shortcut && ids && batch.labels);
      const logits = dropout(hidden.add(shortcut), 0.2, true).matmul(parameters.get('weight').value.t());
      return { loss: logits.crossEntropyLoss(batch.labels.flatten(), null, 2, -100).mul(lossScale) };
    },
  },
];

function program(recomputed: readonly number[], frozen: readonly string[] = []): Program {
  const layout = planFlatLayout(BLOCKS, (name) => frozen.includes(name));
  const base = schedule({})(
    emptyProgram({
      goal: 'gradients',
      microBatches: 2,
      ...laidOut(BLOCKS, layout),
    }),
  );
  const instructions = base.instructions.flatMap((instruction): readonly Instruction[] => {
    const isRun = instruction.op === 'forward' || instruction.op === 'backward';
    if (!isRun || !recomputed.includes(instruction.block)) return [instruction];
    const { block, micro } = instruction;
    if (instruction.op === 'forward') return [{ ...instruction, drop: true }];
    return [{ op: 'recompute', block, micro }, instruction];
  });
  return { ...base, instructions };
}

function nextBatch(micro: number): MicroBatch {
  const ids = (values: readonly number[]) => tensor(BigInt64Array.from(values, BigInt), [2, 2]);
  return { inputIds: ids([0, 1, 2, 3 + micro]), labels: ids([1, 2, 3, -100]) };
}

const INPUTS = { nextBatch, lossScale: 1 / 4, training: true };

/** Loss, gradients and the generator's last state of one step. */
function outcome(recomputed: readonly number[], frozen: readonly string[] = []) {
  const layout = planFlatLayout(BLOCKS, (name) => frozen.includes(name));
  const parameters = new FlatParameters(layout, { dtype: 'float32', device: 'cpu', gradients: true });
  return scope(() => {
    for (const buffer of [parameters.values, parameters.frozenValues]) {
      const values = Array.from({ length: buffer.elements }, (_, index) => Math.sin(index + 1));
      noGrad(() => buffer.copy_(tensor(values)));
    }
    const compiled = program(recomputed, frozen);
    checkPrograms([compiled]);
    manualSeed(7);
    const metrics = runStep(compiled, { blocks: BLOCKS, parameters }, INPUTS, { step: 1 });
    const gradients = parameters.gradients?.buffer.toArray();
    parameters.dispose();
    return { metrics, gradients, random: randomState() };
  });
}

test('whatever is recomputed, loss, gradients and the random numbers after it are the same', () => {
  const kept = outcome([]);
  assert.ok(kept.gradients?.some((value) => value !== 0));
  assert.equal(kept.metrics.tokens, 6);
  for (const recomputed of [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]]) {
    assert.deepEqual(outcome(recomputed), kept, String(recomputed));
  }
});

test('gradients flow through a recomputed block without parameters to train, and stop where none are left', () => {
  for (const frozen of [['layer.weight'], ['embedding.weight'], ['embedding.weight', 'layer.weight']]) {
    const kept = outcome([], frozen);
    for (const recomputed of [[0], [1], [0, 1, 2]]) {
      assert.deepEqual(outcome(recomputed, frozen), kept, `${recomputed} with ${frozen} frozen`);
    }
  }
});

test('recomputing steps leave no tensor behind', () => {
  outcome([0, 1, 2]);
  const before = liveTensors();
  for (let step = 0; step < 5; step += 1) outcome([0, 1, 2]);
  assert.equal(liveTensors(), before);
});

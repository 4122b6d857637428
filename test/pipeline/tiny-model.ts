import assert from 'node:assert/strict';
import type { Block, MicroBatch } from '../../src/nn/block.js';
import { linear } from '../../src/nn/linear.js';
import { tensor } from '../../src/tensor/create.js';

const initializer = { kind: 'constant', value: 0 } as const;
const VOCABULARY = 5;
export const FEATURES = 3;
export const POSITIONS = 4;

/** What passes between blocks beside `hidden`: something that goes round a block, and indices. */
export const BLOCKS: readonly Block[] = [
  {
    name: 'embedding',
    parameters: [{ name: 'weight', shape: [VOCABULARY, FEATURES], initializer }],
    forward: (parameters, _, { batch }) => {
      const indices = batch.inputIds.flatten();
      const hidden = parameters.get('weight').value.indexSelect(0, indices);
      return { hidden, indices, shortcut: hidden.mul(0.5) };
    },
  },
  ...['first', 'second', 'third', 'fourth'].map(
    (name): Block => ({
      name,
      parameters: [{ name: 'weight', shape: [FEATURES, FEATURES], initializer }],
      forward: (parameters, { hidden, indices, shortcut }) => {
        assert.ok(hidden && indices && shortcut);
        return { hidden: linear(hidden, parameters.get('weight')).tanh(), indices, shortcut };
      },
    }),
  ),
  {
    name: 'head',
    parameters: [{ name: 'weight', shape: [VOCABULARY, FEATURES], initializer }],
    forward: (parameters, { hidden, indices, shortcut }, { batch, lossScale }) => {
      assert.ok(hidden && indices && shortcut && batch.labels);
      // The shortcut's gradient is zero, and nothing but zero, where its factor is left out of the graph.
      const seen = hidden.add(indices.unsqueeze(1).mul(0.1)).add(shortcut.detach());
      const logits = seen.matmul(parameters.get('weight').value.t());
      return { loss: logits.crossEntropyLoss(batch.labels.flatten(), null, 2, -100).mul(lossScale) };
    },
  },
];

export const MICRO_BATCHES = 4;

export function batchOf(micro: number): MicroBatch {
  const ids = [0, 1, 2, 3].map((position) => BigInt((position * 3 + micro) % VOCABULARY));
  const labels = ids.map((id, position) => (position === micro ? -100n : (id + 1n) % BigInt(VOCABULARY)));
  return {
    inputIds: tensor(BigInt64Array.from(ids), [2, 2]),
    labels: tensor(BigInt64Array.from(labels), [2, 2]),
  };
}

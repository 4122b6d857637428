import assert from 'node:assert/strict';
import type { Model } from '../src/nn/block.js';

const VOCABULARY = 37;
const FEATURES = 9;
const normal = { kind: 'normal', mean: 0, std: 0.3 } as const;

/**
 * A model of plain operators: autograd keeps its weights from forward to backward and looks whether they have
 * changed. Its head is tied to its embedding.
 */
export const PLAIN_MODEL: Model = {
  architecture: 'plain',
  vocabularySize: VOCABULARY,
  blocks: [
    {
      name: 'embedding',
      parameters: [{ name: 'weight', shape: [VOCABULARY, FEATURES], initializer: normal }],
      forward: (parameters, _, { batch }) => ({
        hidden: parameters.get('weight').value.indexSelect(0, batch.inputIds.flatten()),
      }),
    },
    ...['first', 'second'].map(
      (name) =>
        ({
          name,
          parameters: [{ name: 'weight', shape: [FEATURES, FEATURES], initializer: normal }],
          forward: (parameters, { hidden }) => {
            assert.ok(hidden);
            return { hidden: hidden.matmul(parameters.get('weight').value.t()).tanh() };
          },
        }) satisfies Model['blocks'][number],
    ),
    {
      name: 'head',
      parameters: [
        { name: 'weight', shape: [VOCABULARY, FEATURES], initializer: normal, tiedTo: 'embedding.weight' },
        { name: 'bias', shape: [VOCABULARY], initializer: normal },
      ],
      forward: (parameters, { hidden }, { batch, lossScale }) => {
        assert.ok(hidden && batch.labels);
        const logits = hidden.matmul(parameters.get('weight').value.t()).add(parameters.get('bias').value);
        return { loss: logits.crossEntropyLoss(batch.labels.flatten(), null, 2, -100).mul(lossScale) };
      },
    },
  ],
};

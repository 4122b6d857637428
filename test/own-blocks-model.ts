import assert from 'node:assert/strict';
import { activate } from '../src/nn/activation.js';
import type { Activations, Block, Model } from '../src/nn/block.js';
import { embedding } from '../src/nn/embedding.js';
import { linear } from '../src/nn/linear.js';
import { linearCrossEntropy } from '../src/nn/linear-cross-entropy.js';
import { rmsNorm } from '../src/nn/rms-norm.js';
import type { Tensor } from '../src/tensor/tensor.js';

const VOCABULARY = 37;
const FEATURES = 12;
const HIDDEN = 24;
const normal = { kind: 'normal', mean: 0, std: 0.3 } as const;
const one = { kind: 'constant', value: 1 } as const;

/** A model of one's own made of the functions of `nn`, which says nothing of how it is divided. */
export const OWN_BLOCKS_MODEL: Model = {
  architecture: 'own',
  vocabularySize: VOCABULARY,
  blocks: [
    {
      name: 'tokens',
      parameters: [{ name: 'weight', shape: [VOCABULARY, FEATURES], initializer: normal }],
      forward: (parameters, _, { batch }) => ({
        hidden: embedding(parameters.get('weight'), batch.inputIds),
      }),
    },
    layer('layers.0'),
    layer('layers.1'),
    {
      name: 'head',
      parameters: [{ name: 'weight', shape: [VOCABULARY, FEATURES], initializer: normal }],
      forward: (parameters, input, { batch, lossScale, wantLogits }) =>
        linearCrossEntropy(hiddenOf(input), parameters.get('weight'), {
          labels: batch.labels,
          lossScale,
          wantLogits,
        }),
    },
  ],
};

function layer(name: string): Block {
  return {
    name,
    parameters: [
      { name: 'gain', shape: [FEATURES], initializer: one },
      { name: 'widen.weight', shape: [HIDDEN, FEATURES], initializer: normal },
      { name: 'widen.bias', shape: [HIDDEN], initializer: normal },
      { name: 'narrow.weight', shape: [FEATURES, HIDDEN], initializer: normal },
    ],
    forward(parameters, input) {
      const stream = hiddenOf(input);
      const normed = rmsNorm(stream, parameters.get('gain'), 1e-5);
      const wide = linear(normed, parameters.get('widen.weight'), { bias: parameters.get('widen.bias') });
      const activated = activate(wide, 'silu');
      return { hidden: linear(activated, parameters.get('narrow.weight'), { residual: stream }) };
    },
  };
}

function hiddenOf({ hidden }: Activations): Tensor {
  assert.ok(hidden);
  return hidden;
}

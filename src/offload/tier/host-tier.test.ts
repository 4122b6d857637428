import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OptimizerGroup } from '../../optim/optimizer-group.js';
import { tensor } from '../../tensor/create.js';
import { liveTensors, scope } from '../../tensor/tensor.js';
import { TiledOptimizer } from '../tiled-optimizer.js';
import { HostTier } from './host-tier.js';

const CONFIG = { type: 'Lion', params: { lr: 0.01, betas: [0.9, 0.99], weight_decay: 0.1 } } as const;
const LENGTH = 5000;

function numbers(seed: number): Float32Array {
  return Float32Array.from({ length: LENGTH }, (_, index) => Math.cos(index * 0.3 + seed));
}

test('what lies in host memory is updated where it lies, to the bits of an update without tiers', () => {
  const before = liveTensors();
  scope(() => {
    const [parameters, weights, gradients] = [tensor(numbers(1)), tensor(numbers(1)), tensor(numbers(2))];
    const plain = new OptimizerGroup(CONFIG, [{ parameters, gradients }]);
    const tier = new HostTier(false);
    const [states] = tier.allocate('exp_avg', [LENGTH], 'float32');
    assert.ok(states?.memory);
    const options = { slots: 2, elements: 2048, readsAhead: true, writesBehind: true } as const;
    const pieces = [{ weights, gradients, states: [states] }];
    const tiled = new TiledOptimizer(CONFIG, pieces, { ...options, device: 'cpu', isPinned: false });
    for (const step of [1, 2, 3]) {
      plain.step({ step, learningRate: 0.01, gradientScale: 0.5 });
      scope(() => tiled.begin({ step, learningRate: 0.01, gradientScale: 0.5 }).advance(1));
    }
    assert.deepEqual(weights.toArray(), parameters.toArray());
    const read = tensor(new Float32Array(LENGTH));
    states.read(read, 0).wait();
    assert.deepEqual(read.toArray(), plain.states.get('exp_avg')?.[0]?.toArray());
    tiled.dispose();
    plain.dispose();
    tier.close();
  });
  assert.equal(liveTensors(), before);
});

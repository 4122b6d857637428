import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tensor } from '../tensor/create.js';
import { liveTensors, scope } from '../tensor/tensor.js';
import { setThreads } from '../tensor/threads.js';
import { type OptimizerConfig, optimizerSchema } from './config.js';
import { createOptimizer, type OptimizerUpdate, optimizerStateCount } from './optimizer.js';

/** One parameter's update in double precision, straight from the papers; returns the new parameter. */
type Reference = (update: OptimizerUpdate, parameter: number, gradient: number, state: number[]) => number;

interface Case {
  readonly name: string;
  readonly config: unknown;
  readonly reference: Reference;
}

function adamReference(decoupled: boolean, decay: number): Reference {
  return ({ step, learningRate, gradientScale, momentum = 0.9 }, parameter, gradient, state) => {
    const g = gradient * gradientScale + (decoupled ? 0 : decay * parameter);
    state[0] = momentum * (state[0] ?? 0) + (1 - momentum) * g;
    state[1] = 0.95 * (state[1] ?? 0) + 0.05 * g * g;
    const corrected = Math.sqrt(state[1] / (1 - 0.95 ** step)) + 1e-8;
    const kept = decoupled ? parameter * (1 - learningRate * decay) : parameter;
    return kept - (learningRate / (1 - momentum ** step)) * (state[0] / corrected);
  };
}

function sgdReference(nesterov: boolean): Reference {
  return ({ step, learningRate, gradientScale, momentum = 0.8 }, parameter, gradient, state) => {
    const g = gradient * gradientScale + 0.1 * parameter;
    const share = step === 1 || nesterov ? 1 : 0.5;
    state[0] = momentum * (state[0] ?? 0) + share * g;
    return parameter - learningRate * (nesterov ? g + momentum * state[0] : state[0]);
  };
}

const adamParams = { betas: [0.9, 0.95], weight_decay: 0.1 };
const cases: readonly Case[] = [
  { name: 'AdamW', config: { type: 'AdamW', params: adamParams }, reference: adamReference(true, 0.1) },
  { name: 'Adam', config: { type: 'Adam', params: adamParams }, reference: adamReference(true, 0.1) },
  {
    name: 'Adam with L2',
    config: { type: 'Adam', params: { ...adamParams, adam_w_mode: false } },
    reference: adamReference(false, 0.1),
  },
  {
    name: 'OneBitAdam before it freezes',
    config: { type: 'OneBitAdam', params: adamParams },
    reference: adamReference(true, 0.1),
  },
  {
    // The first moment is the caller's to change, and here nobody does.
    name: 'OneBitAdam after it froze',
    config: { type: 'OneBitAdam', params: { ...adamParams, freeze_step: 1 } },
    reference(update, parameter, gradient, state) {
      const { step, learningRate, momentum = 0.9 } = update;
      if (step === 1) return adamReference(true, 0.1)(update, parameter, gradient, state);
      const corrected = Math.sqrt((state[1] ?? 0) / 0.05) + 1e-8;
      const moved = (learningRate / (1 - momentum ** step)) * ((state[0] ?? 0) / corrected);
      return parameter * (1 - learningRate * 0.1) - moved;
    },
  },
  {
    name: 'Lion',
    config: { type: 'Lion', params: { betas: [0.9, 0.99], weight_decay: 0.1 } },
    reference: ({ learningRate, gradientScale, momentum = 0.9 }, parameter, gradient, state) => {
      const g = gradient * gradientScale;
      const before = state[0] ?? 0;
      state[0] = 0.99 * before + 0.01 * g;
      const direction = Math.sign(momentum * before + (1 - momentum) * g);
      return parameter * (1 - learningRate * 0.1) - learningRate * direction;
    },
  },
  {
    name: 'SGD',
    config: { type: 'SGD', params: { momentum: 0.8, dampening: 0.5, weight_decay: 0.1 } },
    reference: sgdReference(false),
  },
  {
    name: 'SGD with Nesterov momentum',
    config: { type: 'SGD', params: { momentum: 0.8, nesterov: true, weight_decay: 0.1 } },
    reference: sgdReference(true),
  },
  {
    name: 'SGD without momentum',
    config: { type: 'SGD', params: {} },
    reference: ({ learningRate, gradientScale }, parameter, gradient) =>
      parameter - learningRate * gradient * gradientScale,
  },
];

/** Numbers that differ from place to place without a generator: bounded away from zero, of both signs. */
function wave(elements: number, seed: number): Float32Array {
  return Float32Array.from({ length: elements }, (_, i) => {
    const value = Math.sin(i * 12.9898 + seed * 78.233);
    return value + Math.sign(value) * 0.01;
  });
}

function updates(optimizer: OptimizerConfig): readonly OptimizerUpdate[] {
  const moved = optimizer.type === 'SGD' && optimizer.params.momentum === 0 ? {} : { momentum: 0.7 };
  return [
    { step: 1, learningRate: 0.01, gradientScale: 1 },
    { step: 2, learningRate: 0.02, gradientScale: 0.5 },
    { step: 3, learningRate: 0.01, gradientScale: 2, ...moved },
  ];
}

/** Parameters and states after three updates. */
function run(config: OptimizerConfig, elements: number): Float32Array[] {
  return scope(() => {
    const parameters = tensor(wave(elements, 1));
    const gradients = tensor(wave(elements, 2));
    const optimizer = createOptimizer(config, { parameters, gradients });
    for (const update of updates(config)) {
      gradients.copy_(tensor(wave(elements, 2 + update.step)));
      optimizer.step(update);
    }
    const results = [parameters, ...optimizer.states.values()].map((each) => each.toFloat32Array());
    for (const state of optimizer.states.values()) state.dispose();
    return results;
  });
}

describe('optimizers', () => {
  for (const { name, config: written, reference } of cases) {
    const config = optimizerSchema.parse(written);

    test(`${name} follows its formula`, () => {
      for (const elements of [1, 15, 16, 17, 1000]) {
        const [actual] = run(config, elements);
        const start = wave(elements, 1);
        for (let i = 0; i < elements; i += 1) {
          const state: number[] = [];
          const expected = updates(config).reduce(
            (value, update) => reference(update, value, wave(elements, 2 + update.step)[i] ?? 0, state),
            start[i] ?? 0,
          );
          const error = Math.abs((actual?.[i] ?? Number.NaN) - expected);
          assert.ok(error <= 2e-6, `element ${i} of ${elements}: ${actual?.[i]} for ${expected}`);
        }
      }
    });

    test(`${name} gives the same bits with one thread and two`, () => {
      setThreads(1);
      const one = run(config, 100_003);
      setThreads(2);
      const two = run(config, 100_003);
      assert.deepEqual(two, one);
    });

    test(`${name} keeps as many states as it says`, () => {
      const before = liveTensors();
      assert.equal(run(config, 8).length - 1, optimizerStateCount(config));
      assert.equal(liveTensors(), before);
    });
  }
});

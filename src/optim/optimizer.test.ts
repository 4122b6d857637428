import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fromBytes, tensor } from '../tensor/create.js';
import type { DType } from '../tensor/dtype.js';
import { zeros } from '../tensor/generated/functions.js';
import { liveTensors, scope, type Tensor } from '../tensor/tensor.js';
import { setThreads } from '../tensor/threads.js';
import { hasMomentum, type OptimizerConfig, optimizerSchema } from './config.js';
import type { OptimizerUpdate, UpdatePiece } from './optimizer/update-rule.js';
import { createUpdateRule, optimizerStateCount } from './optimizer.js';
import { OptimizerGroup } from './optimizer-group.js';

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
    name: 'Adagrad',
    config: { type: 'Adagrad', params: { lr_decay: 0.3, weight_decay: 0.1 } },
    reference: ({ step, learningRate, gradientScale }, parameter, gradient, state) => {
      const g = gradient * gradientScale + 0.1 * parameter;
      state[0] = (state[0] ?? 0) + g * g;
      return parameter - ((learningRate / (1 + (step - 1) * 0.3)) * g) / (Math.sqrt(state[0]) + 1e-10);
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
  const moved = hasMomentum(optimizer) ? { momentum: 0.7 } : {};
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
    const optimizer = new OptimizerGroup(config, [{ parameters, gradients }]);
    for (const update of updates(config)) {
      gradients.copy_(tensor(wave(elements, 2 + update.step)));
      optimizer.step(update);
    }
    const results = [parameters, ...[...optimizer.states.values()].flat()].map((each) =>
      each.toFloat32Array(),
    );
    optimizer.dispose();
    return results;
  });
}

/** Sizes of pieces: with and without a rest beyond the vectors, and none at all; as many elements as a run's. */
const PIECES = [1, 16, 0, 33, 70_000, 29_953];

/** `run` of an update rule over the pieces that `cut` makes of the same memory, with 16-bit copies. */
function runPieces(
  config: OptimizerConfig,
  elements: number,
  dtype: DType,
  sizes: readonly number[],
): readonly Uint8Array[] {
  return scope(() => {
    const rule = createUpdateRule(config);
    const gradients = tensor(wave(elements, 2)).to(dtype);
    const flat: readonly Tensor[] = [
      tensor(wave(elements, 1)),
      ...rule.stateNames.map(() => zeros([elements])),
    ];
    const copies = zeros([elements], { dtype: 'bfloat16' });
    const starts = sizes.map((_, index) => sizes.slice(0, index).reduce((sum, size) => sum + size, 0));
    for (const update of updates(config)) {
      gradients.copy_(tensor(wave(elements, 2 + update.step)));
      const pieces = sizes.map((size, index): UpdatePiece => {
        const part = (whole: Tensor) => whole.narrow(0, starts[index] ?? 0, size);
        const [parameters, ...states] = flat.map(part);
        assert.ok(parameters);
        return { parameters, gradients: part(gradients), states, copy: part(copies) };
      });
      rule.update(update, pieces);
    }
    assert.deepEqual(copies.toBytes(), flat[0]?.to('bfloat16').toBytes());
    return flat.map((each) => each.toBytes());
  });
}

/** Finite fp32 numbers of both signs: those of 16 bits, half-way between two, just beside that, and too large. */
function roundedNumbers(): Float32Array {
  const [infinity, smallest] = [0x7f80_0000, 0x3280_0000];
  const coarse = Array.from({ length: infinity / 2 ** 14 - 1 }, (_, i) => (i + 1) * 2 ** 14);
  const fine = Array.from({ length: 85_000 }, (_, i) => smallest + i * 2 ** 12);
  const bits = [...coarse, ...fine].map((each, i) => each + (i % 3) - 1 + (i % 2) * 2 ** 31);
  return new Float32Array(Uint32Array.from(bits).buffer);
}

/** Without the sign of zero. */
function plain(values: Tensor): Float32Array {
  return values.toFloat32Array().map((value) => value + 0);
}

test('numbers of 16 bits are read and written as libtorch does it', () => {
  const rule = createUpdateRule(optimizerSchema.parse({ type: 'SGD', params: {} }));
  const still = { step: 1, learningRate: 0, gradientScale: 1 };
  const minus = { ...still, learningRate: -1 };
  const every = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits);
  scope(() => {
    for (const dtype of ['bfloat16', 'float16'] as const) {
      const gradients = fromBytes(new Uint8Array(every.buffer), [every.length], dtype);
      const parameters = zeros([every.length]);
      rule.update(minus, [{ parameters, gradients, states: [] }]);
      assert.deepEqual(plain(parameters), plain(gradients.to('float32')));
      const wide = tensor(roundedNumbers());
      const copy = zeros(wide.shape, { dtype });
      rule.update(still, [{ parameters: wide, gradients: zeros(wide.shape), states: [], copy }]);
      assert.deepEqual(plain(copy.to('float32')), plain(wide.to(dtype).to('float32')));
    }
  });
});

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

    test(`${name} gives a piece the bits that it has in the whole, and reads gradients of 16 bits`, () => {
      const elements = PIECES.reduce((sum, size) => sum + size, 0);
      const whole = run(config, elements).map(({ buffer }) => new Uint8Array(buffer));
      assert.deepEqual(runPieces(config, elements, 'float32', PIECES), whole);
      for (const dtype of ['bfloat16', 'float16'] as const) {
        const rounded = runPieces(config, elements, dtype, [elements]);
        assert.deepEqual(runPieces(config, elements, dtype, PIECES), rounded);
        assert.notDeepEqual(rounded, whole);
      }
    });

    test(`${name} keeps as many states as it says`, () => {
      const before = liveTensors();
      assert.equal(run(config, 8).length - 1, optimizerStateCount(config));
      assert.equal(liveTensors(), before);
    });
  }
});

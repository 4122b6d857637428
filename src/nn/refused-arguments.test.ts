import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { backward, noGrad } from '../tensor/autograd.js';
import { callOperator } from '../tensor/call-operator.js';
import { fromBytes, tensor } from '../tensor/create.js';
import {
  adagrad_,
  adam_,
  allocateMemory_,
  empty,
  fusedAddRmsNorm,
  fusedAttention,
  fusedEmbedding,
  fusedLayerNorm,
  fusedLinear,
  fusedLinearCrossEntropy,
  fusedRmsNorm,
  fusedRotaryAttention,
  fusedSwiglu,
  lion_,
  normSquared,
  ones,
  releaseMemory_,
  sgd_,
  zeros,
} from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';

const f = (...shape: readonly number[]) => ones(shape);
const d = (...shape: readonly number[]) => ones(shape, { dtype: 'float64' });
const ids = (...values: readonly number[]) => tensor(BigInt64Array.from(values, BigInt));
const released = (...shape: readonly number[]) => {
  const gone = zeros(shape);
  releaseMemory_(gone, false);
  return gone;
};

/** What each operator refuses, and how it says so. */
const REFUSALS: readonly (readonly [message: string, call: () => unknown])[] = [
  ['linear: x must be [..., 5], got [2, 6]', () => fusedLinear(f(2, 6), f(3, 5))],
  ['linear: weight must be [outputs, inputs], got [5]', () => fusedLinear(f(2, 5), f(5))],
  ['linear: weight must be Float as the other arguments, got Double', () => fusedLinear(f(2, 5), d(3, 5))],
  ['linear: x must be floating-point, got Long', () => fusedLinear(ids(1, 2), f(3, 2))],
  ['linear: bias must be [3], got [2]', () => fusedLinear(f(2, 5), f(3, 5), f(2))],
  ['linear: bias must be Float as the other arguments', () => fusedLinear(f(2, 5), f(3, 5), d(3))],
  ['linear: weight_gradient must be [3, 5], got [3, 4]', () => fusedLinear(f(2, 5), f(3, 5), null, f(3, 4))],
  ['linear: bias_gradient must be [3], got [5]', () => fusedLinear(f(2, 5), f(3, 5), null, null, f(5))],
  [
    'linear: residual must be [2, 3], got [1, 3]',
    () => fusedLinear(f(2, 5), f(3, 5), null, null, null, f(1, 3)),
  ],
  ['linear: residual must be [2, 3], got [6]', () => fusedLinear(f(2, 5), f(3, 5), null, null, null, f(6))],
  ['linear: weight must have memory', () => fusedLinear(f(2, 5), released(3, 5))],
  ['linear: x must be dense, got Sparse', () => fusedLinear(sparse(f(2, 5)), f(3, 5))],

  ['rms_norm: weight must be [8], got [7]', () => fusedRmsNorm(f(2, 8), f(7), null, 0)],
  ['rms_norm: weight must be Float as', () => fusedRmsNorm(f(2, 8), d(8), null, 0)],
  ['rms_norm: x must be [..., features], got []', () => fusedRmsNorm(f(), f(1), null, 0)],
  ['rms_norm: weight_gradient must be [8], got [8, 1]', () => fusedRmsNorm(f(2, 8), f(8), f(8, 1), 0)],
  ['add_rms_norm: delta must be [2, 8], got [1, 8]', () => fusedAddRmsNorm(f(2, 8), f(1, 8), f(8), null, 0)],
  ['add_rms_norm: delta must be Float as', () => fusedAddRmsNorm(f(2, 8), d(2, 8), f(8), null, 0)],
  ['add_rms_norm: weight must be [8], got [80]', () => fusedAddRmsNorm(f(2, 8), null, f(80), null, 0)],

  ['layer_norm: weight must be [8], got [4]', () => fusedLayerNorm(f(2, 8), f(4), f(8), null, null, 0)],
  ['layer_norm: bias must be [8], got [4]', () => fusedLayerNorm(f(2, 8), f(8), f(4), null, null, 0)],
  ['layer_norm: bias must be Float as', () => fusedLayerNorm(f(2, 8), f(8), d(8), null, null, 0)],
  [
    'layer_norm: bias_gradient must be [8], got [7]',
    () => fusedLayerNorm(f(2, 8), f(8), f(8), null, f(7), 0),
  ],

  ['embedding: weight must be [rows, features], got [7]', () => fusedEmbedding(f(7), ids(1), null)],
  ['embedding: ids must be in [0, 7), got 7 at 1', () => fusedEmbedding(f(7, 3), ids(6, 7), null)],
  ['embedding: ids must be in [0, 7), got -1 at 0', () => fusedEmbedding(f(7, 3), ids(-1), null)],
  ['embedding: ids must be Long or Int, got Float', () => fusedEmbedding(f(7, 3), f(2), null)],
  ['embedding: weight_gradient must be [7, 3], got [6, 3]', () => fusedEmbedding(f(7, 3), ids(1), f(6, 3))],

  ['swiglu: gate_up must be [..., 2 features], got [2, 7]', () => fusedSwiglu(f(2, 7))],
  ['swiglu: gate_up must be floating-point, got Long', () => fusedSwiglu(ids(1, 2))],

  [
    'attention: query must be [batch, length',
    () => fusedAttention(f(4, 8), f(1, 4, 2, 8), f(1, 4, 2, 8), null, 1),
  ],
  [
    'attention: key must be [2, 4, 2, 8], got [1, 4, 2, 8]',
    () => fusedAttention(f(2, 4, 2, 8), f(1, 4, 2, 8), f(1, 4, 2, 8), null, 1),
  ],
  [
    'attention: key must be [1, 4, 2, 8], got [1, 4, 2, 4]',
    () => fusedAttention(f(1, 4, 2, 8), f(1, 4, 2, 4), f(1, 4, 2, 4), null, 1),
  ],
  [
    'attention: key must be [1, 4, 2, 8], got [1, 3, 2, 8]',
    () => fusedAttention(f(1, 4, 2, 8), f(1, 3, 2, 8), f(1, 3, 2, 8), null, 1),
  ],
  [
    'attention: key must be [batch',
    () => fusedAttention(f(1, 4, 3, 8), f(1, 4, 2, 8), f(1, 4, 2, 8), null, 1),
  ],
  [
    'attention: key must be [batch',
    () => fusedAttention(f(1, 4, 2, 8), f(1, 4, 0, 8), f(1, 4, 0, 8), null, 1),
  ],
  [
    'attention: value must be [1, 4, 2, 8], got [1, 4, 1, 8]',
    () => fusedAttention(f(1, 4, 2, 8), f(1, 4, 2, 8), f(1, 4, 1, 8), null, 1),
  ],
  [
    'attention: value must be Float as',
    () => fusedAttention(f(1, 4, 2, 8), f(1, 4, 2, 8), d(1, 4, 2, 8), null, 1),
  ],
  [
    'attention: window must be positive, got 0',
    () => fusedAttention(f(1, 4, 2, 8), f(1, 4, 2, 8), f(1, 4, 2, 8), 0, 1),
  ],

  [
    'rotary_attention: projected must be',
    () => fusedRotaryAttention(f(1, 4, 33), f(4, 4), f(4, 4), 2, 1, null, 1),
  ],
  [
    'rotary_attention: projected must be',
    () => fusedRotaryAttention(f(1, 4, 12), f(4, 1), f(4, 1), 2, 1, null, 1),
  ],
  [
    'rotary_attention: heads must be positive',
    () => fusedRotaryAttention(f(1, 4, 32), f(4, 4), f(4, 4), -2, 1, null, 1),
  ],
  [
    'rotary_attention: key_value_heads must be positive and divide',
    () => fusedRotaryAttention(f(1, 4, 32), f(4, 4), f(4, 4), 2, 0, null, 1),
  ],
  [
    'rotary_attention: cosines must be [length or more, head size / 2], got [3, 4]',
    () => fusedRotaryAttention(f(1, 4, 32), f(3, 4), f(4, 4), 2, 1, null, 1),
  ],
  [
    'rotary_attention: sines must be [4, 4], got [2, 4]',
    () => fusedRotaryAttention(f(1, 4, 32), f(4, 4), f(2, 4), 2, 1, null, 1),
  ],
  [
    'rotary_attention: sines must be Float as',
    () => fusedRotaryAttention(f(1, 4, 32), f(4, 4), d(4, 4), 2, 1, null, 1),
  ],
  [
    'rotary_attention: window must be positive, got -1',
    () => fusedRotaryAttention(f(1, 4, 32), f(4, 4), f(4, 4), 2, 1, -1, 1),
  ],

  [
    'linear_cross_entropy: hidden must be [..., 5], got [2, 6]',
    () => fusedLinearCrossEntropy(f(2, 6), f(9, 5), null, ids(1, 2), 1),
  ],
  [
    'linear_cross_entropy: weight must be [classes, features], got [0, 5]',
    () => fusedLinearCrossEntropy(f(2, 5), f(0, 5), null, ids(-100, -100), 1),
  ],
  [
    'linear_cross_entropy: targets must be [2], got [3]',
    () => fusedLinearCrossEntropy(f(2, 5), f(9, 5), null, ids(1, 2, 3), 1),
  ],
  [
    'linear_cross_entropy: targets must be Long or Int, got Float',
    () => fusedLinearCrossEntropy(f(2, 5), f(9, 5), null, f(2), 1),
  ],
  [
    'linear_cross_entropy: targets must be in [0, 9), got 9 at 1',
    () => fusedLinearCrossEntropy(f(2, 5), f(9, 5), null, ids(1, 9), 1),
  ],
  [
    'linear_cross_entropy: targets must be in [0, 9), got -5 at 0',
    () => fusedLinearCrossEntropy(d(2, 5), d(9, 5), null, ids(-5, 1), 1),
  ],
  [
    'linear_cross_entropy: weight_gradient must be [9, 5], got [9, 4]',
    () => fusedLinearCrossEntropy(f(2, 5), f(9, 5), f(9, 4), ids(1, 2), 1),
  ],

  [
    'adam_: gradients must be as many elements',
    () => adam_([f(8)], [f(7)], [f(8)], [f(8)], [], 0, 0, 0, 0, 0, true, 1, 1),
  ],
  [
    'adam_: exp_avg_sq must be contiguous',
    () => adam_([f(4)], [f(4)], [f(4)], [f(4, 2).select(1, 0)], [], 0, 0, 0, 0, 0, true, 1, 1),
  ],
  [
    'adam_: exp_avg must be floating-point',
    () => adam_([f(2)], [f(2)], [ids(1, 2)], [f(2)], [], 0, 0, 0, 0, 0, true, 1, 1),
  ],
  [
    'adam_: exp_avg must have memory',
    () => adam_([f(2)], [f(2)], [released(2)], [f(2)], [], 0, 0, 0, 0, 0, true, 1, 1),
  ],
  [
    'adam_: step must be counted from 1, got 0',
    () => adam_([f(2)], [f(2)], [f(2)], [f(2)], [], 0, 0, 0, 0, 0, true, 0, 1),
  ],
  ['lion_: exp_avg must be as many elements', () => lion_([f(8)], [f(8)], [f(3)], [], 0, 0, 0, 0, 1)],
  ['sgd_: momentum_buffer must be as many', () => sgd_([f(8)], [f(8)], [f(3)], [], 0, 0, 0, 0, false, 1, 1)],
  [
    'adagrad_: sum must be as many tensors as there are parameters, got 0',
    () => adagrad_([f(2)], [f(2)], [], [], 0, 0, 0, 0, 1, 1),
  ],
  [
    'adagrad_: copies must be as many elements as the parameters',
    () => adagrad_([f(2)], [f(2)], [f(2)], [f(3)], 0, 0, 0, 0, 1, 1),
  ],
  ['norm_squared: flat must be floating-point', () => normSquared(ids(1))],
  ['norm_squared: flat must have memory', () => normSquared(released(4))],
];

describe('an operator refuses what would read beyond memory', () => {
  for (const [message, call] of REFUSALS) {
    test(message, () => scope(() => assert.throws(call, isLine(message))));
  }
});

/** One line of libtorch's, without C++ in it. */
function isLine(message: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TrainyardError);
    assert.equal(error.code, 'TENSOR_OPERATOR');
    assert.equal(error.report.what.slice(0, message.length), message);
    assert.doesNotMatch(error.message, /Exception raised|frame #|\.cpp|\.cc/);
    return true;
  };
}

/** A loss, and something that its forward kept. */
type Started = readonly [loss: Tensor, kept: Tensor];

const resized = (kept: Tensor) => void noGrad(() => callOperator('aten::resize_', kept, [1, 1]));
const freed = (kept: Tensor) => releaseMemory_(kept, false);

/** What became, before backward, of a thing that forward kept. libtorch sees some of it by itself. */
const SPOILED: readonly (readonly [message: string, spoil: (kept: Tensor) => void, start: () => Started])[] =
  [
    [
      'linear: weight_gradient must be [3, 5], got [1, 1]',
      resized,
      () => given((gradient) => fusedLinear(wanted(2, 5), f(3, 5), null, gradient), 3, 5),
    ],
    [
      'linear: bias_gradient must be [3], got [1, 1]',
      resized,
      () => given((gradient) => fusedLinear(wanted(2, 5), f(3, 5), null, null, gradient), 3),
    ],
    [
      'linear: weight must have memory',
      freed,
      () => given((weight) => fusedLinear(wanted(2, 5), weight), 3, 5),
    ],
    [
      'rms_norm backward: weight must have memory',
      freed,
      () => given((weight) => fusedRmsNorm(wanted(2, 8), weight, null, 0), 8),
    ],
    [
      'rms_norm backward: weight_gradient must be [8], got [1, 1]',
      resized,
      () => given((gradient) => fusedRmsNorm(wanted(2, 8), f(8), gradient, 0), 8),
    ],
    [
      'layer_norm: weight must have memory',
      freed,
      () => given((weight) => fusedLayerNorm(wanted(2, 8), weight, f(8), null, null, 0), 8),
    ],
    [
      'layer_norm: bias_gradient must be [8], got [1, 1]',
      resized,
      () => given((gradient) => fusedLayerNorm(wanted(2, 8), f(8), f(8), null, gradient, 0), 8),
    ],
    [
      'embedding: ids must be in [0, 1), got 6 at 0',
      resized,
      () => given((gradient) => fusedEmbedding(f(7, 3), ids(6), gradient), 7, 3),
    ],
    [
      'embedding: weight_gradient must have memory',
      freed,
      () => given((gradient) => fusedEmbedding(f(7, 3), ids(6), gradient), 7, 3),
    ],
    [
      'swiglu: gate_up must have memory',
      freed,
      () => {
        const kept = wanted(2, 8);
        return [fusedSwiglu(kept).sum(), kept];
      },
    ],
    [
      'attention backward: key must have memory',
      freed,
      () => given((key) => fusedAttention(wanted(1, 4, 2, 8), key, f(1, 4, 2, 8), null, 1), 1, 4, 2, 8),
    ],
    [
      'rotary_attention backward: sines must have memory',
      freed,
      () => given((sines) => fusedRotaryAttention(wanted(1, 4, 32), f(4, 4), sines, 2, 1, null, 1), 4, 4),
    ],
    [
      'linear_cross_entropy: weight must have memory',
      freed,
      () => given((weight) => fusedLinearCrossEntropy(wanted(2, 5), weight, null, ids(1, 2), 1)[0], 9, 5),
    ],
    [
      'linear_cross_entropy: logits must be [2, 9], got [1, 1]',
      resized,
      () => fusedLinearCrossEntropy(wanted(2, 5), f(9, 5), null, ids(1, 2), 1),
    ],
  ];

test('a gradient may get its memory between forward and backward, and must', () => {
  const forwards: readonly ((gradient: Tensor) => Tensor)[] = [
    (gradient) => fusedLinear(wanted(2, 3), f(3, 3), null, gradient),
    (gradient) => fusedEmbedding(f(3, 3), ids(1), gradient),
    (gradient) => fusedLinearCrossEntropy(wanted(2, 3), f(3, 3), gradient, ids(1, 2), 1)[0],
  ];
  for (const forward of forwards) {
    scope(() => {
      const gradient = released(3, 3);
      const loss = forward(gradient).sum();
      assert.throws(
        () => backward([loss], [null], { retainGraph: true }),
        /weight_gradient must have memory/,
      );
    });
    scope(() => {
      const gradient = released(3, 3);
      const loss = forward(gradient).sum();
      allocateMemory_(gradient);
      gradient.zero_();
      backward([loss]);
      assert.ok(gradient.abs().sum().item() > 0);
    });
  }
});

describe('a backward refuses what no longer is as forward found it', () => {
  for (const [message, spoil, start] of SPOILED) {
    test(message, () => {
      scope(() => {
        const [loss, kept] = start();
        spoil(kept);
        assert.throws(() => backward([loss]), isLine(message));
      });
    });
  }

  test('labels and ids that were overwritten unseen', () => {
    scope(() => {
      const targets = ids(1, 2);
      const alias = empty([0], { dtype: 'int64' }).set_(targets);
      const [loss] = fusedLinearCrossEntropy(wanted(2, 5), f(9, 5), null, targets, 1);
      alias.fill_(1 << 30);
      assert.throws(
        () => backward([loss]),
        isLine('linear_cross_entropy: targets must be in [0, 9), got 1073741824'),
      );
    });
  });
});

test('memory that is released and taken again is as long as the tensor that takes it', () => {
  scope(() => {
    // Its memory goes with it, and the address becomes another's.
    for (let round = 0; round < 100; round += 1) {
      const long = zeros([1 << 14]);
      releaseMemory_(long, false);
      allocateMemory_(long);
      long.dispose();
      const short = zeros([1 << 12]);
      releaseMemory_(short, true);
      const again = zeros([1 << 14]);
      releaseMemory_(again, false);
      allocateMemory_(again);
      const beside = Array.from({ length: 8 }, () => zeros([1 << 12]));
      again.fill_(1);
      for (const other of beside) assert.equal(other.sum().item(), 0);
    }
  });
});

test('32-bit ids and targets are taken too', () => {
  scope(() => {
    const short = fromBytes(new Uint8Array(Int32Array.of(2, 0).buffer), [2], 'int32');
    const gradient = zeros([3, 4]);
    backward([fusedEmbedding(f(3, 4), short, gradient).sum()]);
    assert.deepEqual(gradient.sum([1]).toArray(), [4, 0, 4]);
    const [loss] = fusedLinearCrossEntropy(f(2, 4), f(3, 4), null, short, 1);
    assert.ok(Math.abs(loss.item() - 2 * Math.log(3)) < 1e-5);
  });
});

/** The loss of a forward that is given a tensor of this shape, and the tensor. */
function given(forward: (kept: Tensor) => Tensor, ...shape: readonly number[]): Started {
  const kept = f(...shape);
  return [forward(kept).sum(), kept];
}

function wanted(...shape: readonly number[]): Tensor {
  const leaf = f(...shape);
  leaf.requiresGrad = true;
  return leaf;
}

function sparse(dense: Tensor): Tensor {
  return callOperator('aten::to_sparse', dense) as Tensor;
}

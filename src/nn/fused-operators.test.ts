import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward, gradientsOf } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { deferProducts } from '../tensor/deferred-products.js';
import type { DType } from '../tensor/dtype.js';
import {
  atenEmbedding,
  layerNorm as atenLayerNorm,
  atenRmsNorm,
  full,
  ones,
  randn,
  scaledDotProductAttention,
} from '../tensor/generated/functions.js';
import { manualSeed } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { setThreads, threads } from '../tensor/threads.js';
import { attention } from './attention.js';
import { embedding } from './embedding.js';
import { gatedActivation } from './gated-activation.js';
import { layerNorm } from './layer-norm.js';
import { linear, transposedLinear } from './linear.js';
import { linearCrossEntropy } from './linear-cross-entropy.js';
import type { Parameter } from './parameter.js';
import { forkRmsNorm, rmsNorm } from './rms-norm.js';
import { rotaryAttention, rotate } from './rotary.js';
import { splitHeads } from './split-heads.js';

type Shapes = readonly (readonly number[])[];

/** A fused operator beside the formula that it stands for, written in operators of ATen. */
interface Case {
  readonly name: string;
  readonly inputs: Shapes;
  readonly parameters: Shapes;
  fused(inputs: readonly Tensor[], parameters: readonly Parameter[]): Tensor;
  formula(inputs: readonly Tensor[], parameters: readonly Tensor[]): Tensor;
}

const IDS = tensor(BigInt64Array.of(3n, 0n, 3n, 6n, 1n, 3n), [2, 3]);
const LABELS = tensor(BigInt64Array.of(4n, -100n, 0n, 32n, 7n, 7n), [2, 3]);
const EPSILON = 1e-5;

// Sizes that fill no tile and no vector, beside sizes that fill several.
const CASES: readonly Case[] = [
  ...[
    [37, 45, 19],
    [300, 96, 530],
    [3, 71, 35],
    [1, 7, 5],
  ].map(([rows = 0, outputs = 0, inputs = 0]) => ({
    name: `linear, ${rows} × ${outputs} × ${inputs}`,
    inputs: [
      [rows, inputs],
      [rows, outputs],
    ],
    parameters: [[outputs, inputs], [outputs]],
    fused: ([x, residual]: readonly Tensor[], [weight, bias]: readonly Parameter[]) =>
      linear(some(x), some(weight), { bias, residual }),
    formula: ([x, residual]: readonly Tensor[], [weight, bias]: readonly Tensor[]) =>
      some(x).matmul(some(weight).t()).add(some(bias)).add(some(residual)),
  })),
  {
    name: 'transposedLinear',
    inputs: [[2, 9, 20]],
    parameters: [[20, 33], [33]],
    fused: ([x], [weight, bias]) => transposedLinear(some(x), some(weight), { bias }),
    formula: ([x], [weight, bias]) => some(x).matmul(some(weight)).add(some(bias)),
  },
  {
    name: 'rmsNorm',
    inputs: [[5, 7, 37]],
    parameters: [[37]],
    fused: ([x], [weight]) => rmsNorm(some(x), some(weight), EPSILON),
    formula: ([x], [weight]) => atenRmsNorm(some(x), [37], weight, EPSILON),
  },
  {
    name: 'forkRmsNorm, both ways used',
    inputs: [[5, 7, 37]],
    parameters: [[37]],
    fused: ([x], [weight]) => {
      const [stream, branch] = forkRmsNorm(some(x), some(weight), EPSILON);
      return stream.mul(3).add(branch);
    },
    formula: ([x], [weight]) =>
      some(x)
        .mul(3)
        .add(atenRmsNorm(some(x), [37], weight, EPSILON)),
  },
  {
    name: 'layerNorm',
    inputs: [[5, 7, 37]],
    parameters: [[37], [37]],
    fused: ([x], [weight, bias]) => layerNorm(some(x), some(weight), some(bias), EPSILON),
    formula: ([x], [weight, bias]) => atenLayerNorm(some(x), [37], weight, bias, EPSILON),
  },
  {
    name: 'embedding with a padding row',
    inputs: [],
    parameters: [[7, 21]],
    fused: (_, [table]) => embedding(some(table), IDS, 6),
    formula: (_, [table]) => atenEmbedding(some(table), IDS, 6),
  },
  {
    name: 'gatedActivation',
    inputs: [[4, 3, 58]],
    parameters: [],
    fused: ([x]) => gatedActivation(some(x), 'silu'),
    formula: ([x]) =>
      some(x)
        .narrow(-1, 0, 29)
        .silu()
        .mul(some(x).narrow(-1, 29, 29)),
  },
  ...[
    { length: 1, heads: 2, shared: 1, size: 8, window: undefined },
    { length: 100, heads: 6, shared: 2, size: 32, window: undefined },
    { length: 77, heads: 2, shared: 2, size: 20, window: 13 },
  ].map(({ length, heads, shared, size, window }) => ({
    name: `attention, length ${length}, ${heads} heads over ${shared}, window ${window}`,
    inputs: [
      [2, length, heads, size],
      [2, length, shared, size],
      [2, length, shared, size],
    ],
    parameters: [],
    fused: ([query, key, value]: readonly Tensor[]) =>
      attention(some(query), some(key), some(value), { scale: 0.3, window, dropout: 0 }),
    formula: ([query, key, value]: readonly Tensor[]) =>
      attend(some(query), some(key), some(value), 0.3, window ?? length),
  })),
  {
    name: 'rotaryAttention',
    inputs: [[2, 70, 8 * 12]],
    parameters: [],
    fused: ([projected]) =>
      rotaryAttention(some(projected), angles(70, 6), 4, 2, { scale: 0.3, window: 50, dropout: 0 }),
    formula: ([projected]) => {
      const [query, key, value] = splitHeads(some(projected), 4, 2);
      return attend(rotate(query, angles(70, 6)), rotate(key, angles(70, 6)), value, 0.3, 50);
    },
  },
  {
    name: 'linearCrossEntropy',
    inputs: [[2, 3, 11]],
    parameters: [[33, 11]],
    fused: ([hidden], [weight]) =>
      some(
        linearCrossEntropy(some(hidden), some(weight), { labels: LABELS, lossScale: 0.7, wantLogits: false })
          .loss,
      ),
    formula: ([hidden], [weight]) =>
      some(hidden)
        .matmul(some(weight).t())
        .flatten(0, 1)
        .crossEntropyLoss(LABELS.flatten(), null, 2, -100)
        .mul(0.7),
  },
];

for (const each of CASES) {
  test(`${each.name}: values and gradients are those of the formula`, () => {
    scope(() => {
      const start = draw(each, 'float32');
      const ours = measure(each, start, true);
      const theirs = reference(each, draw(each, 'float64'));
      compare(ours, theirs, 2e-6);
    });
  });

  test(`${each.name}: the same composed of ATen's operators, for other dtypes`, () => {
    scope(() =>
      compare(measure(each, draw(each, 'float64'), true), reference(each, draw(each, 'float64')), 1e-6),
    );
  });

  for (const [dtype, tolerance] of [
    ['bfloat16', 1e-2],
    ['float16', 1.5e-3],
  ] as const) {
    test(`${each.name}: in ${dtype}, with gradients that add up in fp32`, () => {
      scope(() => {
        const exact = (values: Tensor): Tensor => values.detach().to('float64');
        const { inputs, weights } = draw(each, dtype);
        const wide = { inputs: inputs.map(exact).map(leaf), weights: weights.map(exact) };
        const ours = measure(each, { inputs, weights }, true, 'float32');
        compare(ours, reference(each, wide), tolerance);
        assert.equal(ours[0]?.dtype, each.name === 'linearCrossEntropy' ? 'float32' : dtype);
      });
    });
  }

  test(`${each.name}: the same bits with any number of threads`, () => {
    const before = threads();
    try {
      scope(() => {
        const [one, three] = [1, 3].map((count) => {
          setThreads(count);
          return measure(each, draw(each, 'float32'), true).map((result) => result.toArray());
        });
        assert.deepEqual(three, one);
      });
    } finally {
      setThreads(before);
    }
  });

  test(`${each.name}: the same bits where products wait`, () => {
    for (const dtype of ['float32', 'float64', 'bfloat16'] as const) {
      scope(() => {
        const [now, later] = [false, true].map((waits) =>
          measure(each, draw(each, dtype), true, 'float32', waits).map((result) => result.toArray()),
        );
        assert.deepEqual(later, now);
      });
    }
  });

  if (each.parameters.length > 0 && each.inputs.length > 0) {
    test(`${each.name}: frozen parameters leave the other gradients as they are`, () => {
      scope(() => {
        const [trained, frozen] = [true, false].map((wanted) => measure(each, draw(each, 'float32'), wanted));
        const count = 1 + each.inputs.length;
        assert.equal(frozen?.length, count);
        assert.deepEqual(
          frozen?.map((result) => result.toArray()),
          trained?.slice(0, count).map((result) => result.toArray()),
        );
      });
    });
  }
}

test('linearCrossEntropy refuses a second backward, and a label beyond the vocabulary', () => {
  scope(() => {
    const hidden = randn([6, 11]);
    hidden.requiresGrad = true;
    const weight = { name: 'head', value: randn([20, 11]) };
    const options = { lossScale: 1, wantLogits: false };
    const labels = tensor(BigInt64Array.of(0n, 1n, 2n, 3n, 4n, 19n));
    const { loss } = linearCrossEntropy(hidden, weight, { ...options, labels });
    backward([some(loss)], [null], { retainGraph: true });
    assert.throws(() => backward([some(loss)]), /backward runs once/);
    const beyond = tensor(BigInt64Array.of(0n, 1n, 2n, 3n, 4n, 20n));
    assert.throws(
      () => linearCrossEntropy(hidden, weight, { ...options, labels: beyond }),
      /targets must be in \[0, 20\), got 20 at 5/,
    );
  });
});

test('linearCrossEntropy adds the products of several chunks of rows in one order, now or later', () => {
  const [rows, features, classes] = [2500, 9, 33];
  const labels = tensor(
    BigInt64Array.from({ length: rows }, (_, row) => BigInt((row * 7) % classes)),
    [1, rows],
  );
  const each: Case = {
    name: 'linearCrossEntropy',
    inputs: [[1, rows, features]],
    parameters: [[classes, features]],
    fused: ([hidden], [weight]) =>
      some(
        linearCrossEntropy(some(hidden), some(weight), { labels, lossScale: 0.7, wantLogits: false }).loss,
      ),
    formula: ([hidden]) => some(hidden),
  };
  scope(() => {
    const [now, later] = [false, true].map((waits) =>
      measure(each, draw(each, 'float32'), true, 'float32', waits).map((result) => result.toArray()),
    );
    assert.deepEqual(later, now);
  });
});

interface Start {
  readonly inputs: readonly Tensor[];
  readonly weights: readonly Tensor[];
}

/** The same random numbers for each dtype. */
function draw({ inputs, parameters }: Case, dtype: DType): Start {
  manualSeed(5);
  const make = (shape: readonly number[]): Tensor => randn(shape).to(dtype);
  return { inputs: inputs.map(make).map(leaf), weights: parameters.map(make) };
}

/** The output, the inputs' gradients, and what the parameters' gradients grew by from one. */
function measure(
  each: Case,
  { inputs, weights }: Start,
  wanted: boolean,
  gradientDtype?: DType,
  waits = false,
): Tensor[] {
  const parameters = weights.map((value, index) => ({
    name: `${index}`,
    value,
    ...(wanted ? { gradient: full(value.shape, 1, { dtype: gradientDtype ?? value.dtype }) } : {}),
  }));
  const output = each.fused(inputs, parameters);
  const run = (): (Tensor | null)[] => {
    if (inputs.length > 0) return gradientsOf([output], inputs, [slope(output)]);
    backward([output], [slope(output)]);
    return [];
  };
  const gradients = waits ? withProductsAtTheEnd(run) : run();
  const grown = parameters.flatMap(({ gradient }) => (gradient === undefined ? [] : [gradient.sub(1)]));
  return [output, ...gradients.map(some), ...grown];
}

function withProductsAtTheEnd<Result>(body: () => Result): Result {
  let result: Result | undefined;
  deferProducts(() => {
    result = body();
  }).add();
  return some(result);
}

function reference(each: Case, { inputs, weights }: Start): Tensor[] {
  const output = each.formula(inputs, weights.map(leaf));
  return [output, ...gradientsOf([output], [...inputs, ...weights], [slope(output)]).map(some)];
}

/** An incoming gradient that differs from element to element. */
function slope(output: Tensor): Tensor {
  manualSeed(6);
  return randn(output.shape).to(output.dtype);
}

function compare(ours: readonly Tensor[], theirs: readonly Tensor[], tolerance: number): void {
  assert.equal(ours.length, theirs.length);
  for (const [index, own] of ours.entries()) {
    const exact = some(theirs[index]);
    assert.deepEqual(own.shape, exact.shape);
    const distance = length(own.to('float64').sub(exact));
    assert.ok(distance <= tolerance * Math.max(1, length(exact)), `result ${index} is off by ${distance}`);
  }
}

function length(values: Tensor): number {
  return Math.sqrt(values.toArray().reduce((sum, value) => sum + value * value, 0));
}

function leaf(values: Tensor): Tensor {
  values.requiresGrad = true;
  return values;
}

function some<Value>(value: Value | null | undefined): Value {
  assert.ok(value !== undefined && value !== null);
  return value;
}

function angles(positions: number, half: number) {
  manualSeed(7);
  const turned = randn([positions, half]);
  return { cosines: turned.cos(), sines: turned.sin() };
}

function attend(query: Tensor, key: Tensor, value: Tensor, scale: number, window: number): Tensor {
  const positions = query.shape[1] ?? 0;
  const seen = ones([positions, positions], { dtype: 'bool' })
    .tril()
    .triu(1 - window);
  const heads = [query, key, value].map((each) => each.transpose(1, 2));
  return scaledDotProductAttention(some(heads[0]), some(heads[1]), some(heads[2]), seen, 0, false, {
    scale,
    enableGqa: true,
  })
    .transpose(1, 2)
    .flatten(2);
}

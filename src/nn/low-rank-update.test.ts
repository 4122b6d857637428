import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward, gradientsOf } from '../tensor/autograd.js';
import { cat, randn, zeros } from '../tensor/generated/functions.js';
import { manualSeed } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { linear, transposedLinear } from './linear.js';
import type { LowRankUpdate, Parameter } from './parameter.js';

const [INPUTS, OUTPUTS, RANK, SCALE] = [13, 24, 3, 0.7] as const;

/** Outputs that an update covers, beside the parts that the others leave. */
const PLACES: readonly { readonly name: string; readonly covered: readonly (readonly [number, number])[] }[] =
  [
    { name: 'all outputs', covered: [[0, OUTPUTS]] },
    { name: 'the first', covered: [[0, 5]] },
    { name: 'the last', covered: [[20, OUTPUTS]] },
    {
      name: 'some in the middle',
      covered: [
        [4, 9],
        [9, 12],
        [17, 20],
      ],
    },
  ];

function leaf(shape: readonly number[]): Parameter {
  const value = randn(shape);
  value.requiresGrad = true;
  const gradient = zeros(shape);
  value.grad = gradient;
  return { name: 'leaf', value, gradient };
}

function closeTo(got: Tensor | null | undefined, expected: Tensor | null | undefined, what: string): void {
  assert.ok(got && expected, what);
  assert.deepEqual(got.shape, expected.shape);
  const error = got.sub(expected).abs().amax().item();
  assert.ok(error < 1e-4, `${what} differs by ${error}`);
}

for (const { name, covered } of PLACES) {
  for (const withResidual of [false, true]) {
    for (const layer of ['linear', 'transposedLinear'] as const) {
      test(`${layer} with updates of ${name}${withResidual ? ' and a residual' : ''} is that of the merged weight`, () => {
        scope(() => {
          manualSeed(7n);
          const weight = randn([OUTPUTS, INPUTS]);
          const input = randn([2, 5, INPUTS]);
          input.requiresGrad = true;
          const residual = withResidual ? randn([2, 5, OUTPUTS]) : undefined;
          const updates = covered.map(
            ([start, end]): LowRankUpdate => ({
              down: leaf([RANK, INPUTS]),
              up: leaf([end - start, RANK]),
              scale: SCALE,
              dropout: 0,
              firstOutput: start,
            }),
          );
          const carrying = { name: 'weight', value: layer === 'linear' ? weight : weight.t(), updates };
          const apply = layer === 'linear' ? linear : transposedLinear;
          const output = apply(input, carrying, { residual });

          const rows: Tensor[] = [];
          let end = 0;
          for (const { down, up, scale, firstOutput } of updates) {
            rows.push(zeros([firstOutput - end, INPUTS]), up.value.mm(down.value).mul(scale));
            end = firstOutput + (up.value.shape[0] ?? 0);
          }
          const merged = weight.add(cat([...rows, zeros([OUTPUTS - end, INPUTS])], 0));
          const product = input.matmul(merged.t());
          const formula = residual === undefined ? product : product.add(residual);
          closeTo(output, formula, 'output');

          const seed = randn([2, 5, OUTPUTS]);
          const leaves = updates.flatMap(({ down, up }) => [down, up]);
          const expected = gradientsOf([formula], [input, ...leaves.map(({ value }) => value)], [seed]);
          backward([output], [seed]);
          closeTo(input.grad, expected[0], 'gradient of the input');
          for (const [index, { gradient }] of leaves.entries()) {
            closeTo(gradient, expected[index + 1], `gradient of matrix ${index}`);
          }
        });
      });
    }
  }
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward } from './autograd.js';
import { callOperator } from './call-operator.js';
import { DeferredProducts, deferProducts } from './deferred-products.js';
import { fusedLinear, randn, releaseMemory_, zeros } from './generated/functions.js';
import { allocatedBytes } from './memory.js';
import { liveTensors, scope, type Tensor } from './tensor.js';

const [ROWS, INPUTS, OUTPUTS] = [6, 5, 7];
const FLOAT = 4;

interface Layer {
  readonly input: Tensor;
  readonly gradient: Tensor;
  readonly biasGradient: Tensor;
  readonly output: Tensor;
}

function layer(gradient = zeros([OUTPUTS, INPUTS])): Layer {
  const input = randn([ROWS, INPUTS]);
  input.requiresGrad = true;
  const biasGradient = zeros([OUTPUTS]);
  const output = fusedLinear(input, randn([OUTPUTS, INPUTS]), zeros([OUTPUTS]), gradient, biasGradient);
  return { input, gradient, biasGradient, output };
}

function isZero(values: Tensor): boolean {
  return values.toArray().every((value) => value === 0);
}

test('a product waits until it is added, and everything else is there at once', () => {
  scope(() => {
    const { input, gradient, biasGradient, output } = layer();
    const slope = randn(output.shape);
    const products = deferProducts(() => backward([output], [slope]));
    assert.ok(isZero(gradient));
    assert.ok(input.grad && !isZero(input.grad) && !isZero(biasGradient));
    products.add();
    assert.ok(gradient.allclose(slope.t().mm(input.detach()), 1e-5, 1e-6));
    const added = gradient.toArray();
    products.add();
    assert.deepEqual(gradient.toArray(), added, 'it is added once');
    backward([layer(gradient).output.sum()]);
    assert.notDeepEqual(gradient.toArray(), added, 'a later backward defers nothing');
  });
});

test('products wait too where backward runs on a thread of its own', () => {
  scope(() => {
    // Tensors without memory, whose backward is that of any device but the CPU.
    const onMeta = (...shape: number[]): Tensor =>
      callOperator('aten::zeros', shape, undefined, undefined, 'meta') as Tensor;
    const [input, gradient] = [onMeta(ROWS, INPUTS), onMeta(OUTPUTS, INPUTS)];
    input.requiresGrad = true;
    const run = () => {
      const output = fusedLinear(input, onMeta(OUTPUTS, INPUTS), null, gradient);
      backward([output.sum()]);
    };
    const writes = () => callOperator('aten::_version', gradient);
    const before = writes();
    const products = deferProducts(run);
    assert.equal(writes(), before);
    products.add();
    assert.notEqual(writes(), before);
  });
});

test('nested collectors keep what is theirs, each in its order', () => {
  scope(() => {
    const [outer, inner, last] = [layer(), layer(), layer()];
    let own: DeferredProducts | undefined;
    const around = deferProducts(() => {
      backward([outer.output.sum()]);
      own = deferProducts(() => backward([inner.output.sum()]));
      backward([last.output.sum()]);
    });
    assert.ok(own instanceof DeferredProducts);
    own.add();
    assert.deepEqual(
      [outer, inner, last].map(({ gradient }) => isZero(gradient)),
      [true, false, true],
    );
    around.add();
    assert.deepEqual(
      [outer, inner, last].map(({ gradient }) => isZero(gradient)),
      [false, false, false],
    );
  });
});

test('factors are memory until they are added or disposed, and nothing of their graph is', () => {
  scope(() => {
    for (const end of ['add', 'dispose'] as const) {
      const [tensors, bytes] = [liveTensors(), allocatedBytes()];
      const gradient = zeros([OUTPUTS, INPUTS]);
      const products = scope(() => {
        const { output } = layer(gradient);
        // The slope has memory of its own, and the tanh in front of it what it keeps for its backward.
        return deferProducts(() => backward([output.tanh().sum()]));
      });
      assert.equal(liveTensors(), tensors + 1);
      const factors = FLOAT * (ROWS * INPUTS + ROWS * OUTPUTS);
      assert.equal(allocatedBytes(), bytes + factors + FLOAT * OUTPUTS * INPUTS);
      products[end]();
      assert.equal(isZero(gradient), end === 'dispose');
      gradient.dispose();
      assert.equal(allocatedBytes(), bytes);
      products.dispose();
    }
  });
});

test('a backward that throws leaves no product behind', () => {
  scope(() => {
    const bytes = allocatedBytes();
    assert.throws(
      () =>
        scope(() =>
          deferProducts(() => {
            backward([layer().output.sum()]);
            throw new Error('stopped');
          }),
        ),
      /stopped/,
    );
    assert.equal(allocatedBytes(), bytes);
    const { gradient, output } = layer();
    backward([output.sum()]);
    assert.ok(!isZero(gradient), 'and nobody collects any more');
  });
});

test('a gradient whose memory was released in between is refused', () => {
  scope(() => {
    const flat = zeros([OUTPUTS * INPUTS]);
    const { output } = layer(flat.view([OUTPUTS, INPUTS]));
    const bytes = allocatedBytes();
    const products = deferProducts(() => backward([output.sum()]));
    releaseMemory_(flat, false);
    assert.throws(() => products.add(), /gradient must have memory, got a tensor whose memory was released/);
    assert.ok(allocatedBytes() <= bytes, 'what was left is freed');
  });
});

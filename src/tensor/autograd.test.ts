import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  applyFunction,
  backward,
  type CustomFunction,
  enableGrad,
  gradientsOf,
  noGrad,
  onGradient,
} from './autograd.js';
import { tensor } from './create.js';
import { liveTensors, scope, type Tensor } from './tensor.js';

function leaf(values: readonly number[], shape?: readonly number[]): Tensor {
  const result = tensor(values, shape);
  result.requiresGrad = true;
  return result;
}

test('backward accumulates into leaves, and into a gradient that was put there', () => {
  scope(() => {
    const x = leaf([1, 2]);
    const gradient = tensor([10, 10]);
    x.grad = gradient;
    backward([x.mul(x).sum()]);
    backward([x.sum()]);
    assert.deepEqual(gradient.toArray(), [13, 15], 'the same memory was added to');
    x.grad = undefined;
    assert.equal(x.grad, undefined);
  });
});

test('noGrad and enableGrad nest', () => {
  scope(() => {
    const x = leaf([1]);
    noGrad(() => {
      assert.equal(x.add(1).requiresGrad, false);
      enableGrad(() => assert.equal(x.add(1).requiresGrad, true));
      assert.equal(x.add(1).requiresGrad, false);
    });
    assert.equal(x.add(1).requiresGrad, true);
  });
});

test('gradientsOf touches no .grad and reports unused inputs', () => {
  scope(() => {
    const x = leaf([3]);
    const unused = leaf([1]);
    const [dx, du] = gradientsOf([x.mul(x).sum()], [x, unused], [null], { allowUnused: true });
    assert.deepEqual(dx?.toArray(), [6]);
    assert.equal(du, null);
    assert.equal(x.grad, undefined);
  });
});

test('hooks run in TypeScript, may replace the gradient, and can be removed', () => {
  scope(() => {
    const x = leaf([1, 2]);
    const y = x.mul(3);
    const seen: number[][] = [];
    onGradient(y, (gradient) => gradient.mul(2));
    const remove = onGradient(x, (gradient) => {
      seen.push(gradient.toArray());
      return undefined;
    });
    backward([y.sum()], [null], { retainGraph: true });
    remove();
    backward([y.sum()]);
    assert.deepEqual(seen, [[6, 6]]);
    assert.deepEqual(x.grad?.toArray(), [12, 12]);
  });
});

const cube: CustomFunction<readonly [Tensor]> = {
  forward: ([x]) => ({ outputs: [x.pow(3)], saved: [x] }),
  backward: ([x], [gradient]) => [x === undefined || !gradient ? null : x.pow(2).mul(3).mul(gradient)],
};

test('a custom function has the backward that TypeScript gives it', () => {
  scope(() => {
    const x = leaf([1, 2, 3]);
    const [y] = applyFunction(cube, [x.mul(1)] as const);
    assert.ok(y);
    backward([y.sum()]);
    assert.deepEqual(x.grad?.toArray(), [3, 12, 27]);
  });
});

test('a saved output makes no cycle, and graphs leave no handle behind', () => {
  const before = liveTensors();
  for (let round = 0; round < 50; round += 1) {
    scope(() => {
      const x = leaf([0.5]);
      const [y] = applyFunction(
        {
          forward: ([input]: readonly [Tensor]) => {
            const output = input.exp();
            return { outputs: [output], saved: [output] };
          },
          backward: ([output], [gradient]) => [output && gradient ? output.mul(gradient) : null],
        },
        [x] as const,
      );
      assert.ok(y);
      onGradient(y, (gradient) => gradient.mul(1));
      backward([y]);
      assert.ok(Math.abs((x.grad?.item() ?? 0) - Math.exp(0.5)) < 1e-6);
    });
  }
  assert.equal(liveTensors(), before);
});

test('an exception in a hook or a custom backward is the one that backward throws', () => {
  scope(() => {
    const x = leaf([1]);
    const y = x.mul(2);
    onGradient(y, () => {
      throw new RangeError('from the hook');
    });
    assert.throws(() => backward([y]), { name: 'RangeError', message: 'from the hook' });
    const [z] = applyFunction({ ...cube, backward: () => [] }, [x] as const);
    assert.ok(z);
    assert.throws(() => backward([z]), /returned 0 gradients for 1 inputs/);
  });
});

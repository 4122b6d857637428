import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
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

test('removing a hook twice, or after its tensor is gone, does nothing', () => {
  const removers: (() => void)[] = [];
  scope(() => {
    const x = leaf([1]);
    removers.push(onGradient(x, () => assert.fail('removed')));
    const [remove] = removers;
    remove?.();
    remove?.();
    backward([x.mul(2)]);
    removers.push(onGradient(x, () => undefined));
  });
  for (const remove of removers) remove();
});

test('a removed hook stays removed when the tensor has been changed in place since', () => {
  scope(() => {
    const x = leaf([1, 2]);
    const y = x.mul(3);
    const remove = onGradient(y, () => assert.fail('removed'));
    y.mul_(2);
    const seen: number[][] = [];
    onGradient(y, (gradient) => {
      seen.push(gradient.toArray());
      return undefined;
    });
    remove();
    backward([y.sum()]);
    assert.deepEqual(seen, [[1, 1]]);
    assert.deepEqual(x.grad?.toArray(), [6, 6]);
  });
});

test('a hook goes with its tensor or with its removal', async () => {
  const removers: (() => void)[] = [];
  const hook = () => {
    const captured = { values: new Array<number>(1000).fill(0) };
    return { captured: new WeakRef(captured), call: () => void captured.values.length };
  };
  const captured = scope(() => {
    const x = leaf([1]);
    const [died, removed] = [hook(), hook()];
    removers.push(
      onGradient(x, () => {
        died.call();
        return undefined;
      }),
    );
    onGradient(x, () => {
      removed.call();
      return undefined;
    })();
    backward([x.mul(2)]);
    return [died.captured, removed.captured];
  });
  await collectGarbage();
  assert.deepEqual(
    captured.map((each) => each.deref()),
    [undefined, undefined],
  );
  for (const remove of removers) remove();
});

/** Several turns: references that native code held are deleted between two of them. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let turn = 0; turn < 3; turn += 1) {
    scope(() => tensor([0]));
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

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

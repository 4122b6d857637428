import assert from 'node:assert/strict';
import { test } from 'node:test';
import { native } from '../native/native.js';
import { callOperator, operatorNames } from './call-operator.js';
import { tensor } from './create.js';
import { scope, Tensor } from './tensor.js';

test('any operator can be called by name', () => {
  scope(() => {
    const result = callOperator('aten::lerp.Scalar', tensor([0, 2]), tensor([4, 4]), 0.5);
    assert.ok(result instanceof Tensor);
    assert.deepEqual(result.toArray(), [2, 3]);
    const sorted = callOperator('aten::sort', tensor([3, 1, 2])) as readonly Tensor[];
    assert.deepEqual(
      sorted.map((each) => each.toArray()),
      [
        [1, 2, 3],
        [1, 2, 0],
      ],
    );
    const meshes = callOperator('aten::meshgrid', [tensor([1, 2]), tensor([3])]) as readonly Tensor[];
    assert.equal(meshes.length, 2);
    assert.equal(callOperator('aten::is_floating_point', tensor([1])), true);
  });
});

test('every operator of the dispatcher can be looked up', () => {
  const names = operatorNames().filter((name) => name.startsWith('aten::'));
  assert.ok(names.length > 3000, `${names.length} operators`);
  for (const name of names) {
    const [operator = '', overload = ''] = name.split('.');
    assert.match(native.operatorSchema(native.findOperator(operator, overload)), /^aten::/);
  }
});

test('an operator that changes a tensor in place shows in its shape', () => {
  scope(() => {
    const x = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
    assert.deepEqual(x.shape, [2, 3]);
    callOperator('aten::t_', x);
    assert.deepEqual(x.shape, [3, 2]);
    callOperator('aten::unsqueeze_', x, 0);
    assert.deepEqual([x.shape, x.elements, x.toArray()], [[1, 3, 2], 6, [1, 4, 2, 5, 3, 6]]);
    callOperator('aten::resize_', x, [2]);
    assert.deepEqual([x.shape, x.toArray()], [[2], [1, 2]]);
    x.set_(tensor([7, 8, 9]));
    assert.deepEqual([x.shape, x.toArray()], [[3], [7, 8, 9]]);
    assert.equal(x.dtype, 'float32');
    callOperator('aten::set_data', x, tensor(BigInt64Array.of(4n)));
    assert.deepEqual([x.dtype, x.shape, x.toArray()], ['int64', [1], [4]]);
    const out = tensor([0]);
    assert.deepEqual(out.shape, [1]);
    callOperator('aten::cat.out', [tensor([1]), tensor([2])], 0, out);
    assert.deepEqual([out.shape, out.toArray()], [[2], [1, 2]]);
  });
});

test('any number of arguments arrives, or is one too many', () => {
  scope(() => {
    // The longest schemas have more arguments than are usual.
    const [weight, input] = [tensor(new Array(16).fill(0.5), [4, 4]), tensor([1, 2, 3, 4], [1, 4])];
    const zeros = tensor([0, 0, 0, 0], [1, 4]);
    const many = [...new Array(200).fill(1)];
    assert.throws(() => callOperator('aten::add.Tensor', input, zeros, ...many), {
      code: 'TENSOR_OPERATOR',
      message: /Too many arguments: 202 given, the schema has 3/,
    });
    const longest = operatorNames()
      .filter((name) => name.startsWith('aten::'))
      .map((name) => ({ name, count: parameterCount(name) }))
      .reduce((most, each) => (each.count > most.count ? each : most));
    assert.ok(longest.count > 24, `${longest.name} has ${longest.count}`);
    const misfits = new Array(longest.count).fill('x');
    assert.throws(() => callOperator(longest.name, ...misfits), {
      code: 'TENSOR_OPERATOR',
      message: /must be/,
    });
    assert.equal(weight.isFreed, false);
  });
});

function parameterCount(name: string): number {
  const [operator = '', overload = ''] = name.split('.');
  const schema = native.operatorSchema(native.findOperator(operator, overload));
  const inner = schema.slice(schema.indexOf('(') + 1, schema.lastIndexOf(') -> '));
  return inner.split(/, (?=[A-Z]|\w+[[?( ])/).filter((part) => part !== '*').length;
}

test('an unknown operator is a clear error', () => {
  assert.throws(() => callOperator('aten::no_such_thing'), {
    code: 'TENSOR_OPERATOR',
    message: /There is no operator aten::no_such_thing/,
  });
});

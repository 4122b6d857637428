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

test('an unknown operator is a clear error', () => {
  assert.throws(() => callOperator('aten::no_such_thing'), {
    code: 'TENSOR_OPERATOR',
    message: /There is no operator aten::no_such_thing/,
  });
});

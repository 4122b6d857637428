import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { fromBytes, tensor, viewBytes } from './create.js';
import { DTYPES, type DType } from './dtype.js';
import { arange, cat, empty, full, where } from './generated/functions.js';
import { Scope } from './scope.js';
import { keep, liveTensors, scope, Tensor } from './tensor.js';

describe('values', () => {
  test('go in and come out in row-major order', () => {
    scope(() => {
      const matrix = tensor([1, 2, 3, 4, 5, 6], [2, 3]);
      assert.deepEqual(matrix.shape, [2, 3]);
      assert.equal(matrix.dtype, 'float32');
      assert.equal(matrix.device, 'cpu');
      assert.deepEqual(matrix.transpose(0, 1).toArray(), [1, 4, 2, 5, 3, 6]);
      assert.deepEqual([...matrix.toFloat32Array()], [1, 2, 3, 4, 5, 6]);
    });
  });

  test('every dtype survives a round trip through bytes', () => {
    scope(() => {
      for (const dtype of Object.keys(DTYPES) as DType[]) {
        const ones = full([3], 1, { dtype });
        const copy = fromBytes(ones.toBytes(), [3], dtype);
        assert.equal(copy.dtype, dtype);
        assert.deepEqual(copy.toArray(), [1, 1, 1]);
        assert.equal(ones.toBytes().length, 3 * DTYPES[dtype].bytes);
      }
    });
  });

  test('64-bit integers keep all their digits', () => {
    scope(() => {
      const large = 2n ** 62n + 1n;
      assert.deepEqual([...tensor(BigInt64Array.of(large, -1n)).toBigInt64Array()], [large, -1n]);
    });
  });

  test('a view shares memory with its bytes, a copy does not', () => {
    scope(() => {
      const bytes = new Uint8Array(Float32Array.of(1, 2).buffer);
      const view = viewBytes(bytes, [2], 'float32');
      const copy = fromBytes(bytes, [2], 'float32');
      view.fill_(7);
      assert.deepEqual([...new Float32Array(bytes.buffer)], [7, 7]);
      assert.deepEqual(copy.toArray(), [1, 2]);
    });
  });

  test('bytes under a tensor stay where they are', () => {
    scope(() => {
      const bytes = new Uint8Array(Float32Array.of(1, 2).buffer);
      const view = viewBytes(bytes, [2], 'float32');
      const moved = () => structuredClone(bytes, { transfer: [bytes.buffer] });
      try {
        moved();
      } catch (error) {
        assert.equal((error as Error).name, 'DataCloneError');
      }
      assert.equal(bytes.buffer.byteLength, 8);
      assert.deepEqual(view.toArray(), [1, 2]);
    });
  });

  test('a shape is refused that its bytes do not fit', () => {
    const bytes = new Uint8Array(16);
    for (const make of [fromBytes, viewBytes]) {
      assert.throws(() => make(bytes, [-1, -4], 'float32'), { message: /sizes from 0 on/ });
      assert.throws(() => make(bytes.subarray(0, 0), [2 ** 32, 2 ** 30], 'float32'), {
        message: /can be counted/,
      });
      assert.throws(() => make(bytes, [3], 'float32'), { message: /has 16 bytes, the tensor needs 12/ });
    }
    assert.throws(() => viewBytes(bytes.subarray(1, 5), [1], 'float32'), {
      message: /begin where an element may/,
    });
  });

  test('scalars and ranks 0 work, and item reads them', () => {
    scope(() => {
      assert.equal(tensor([2.5]).sum().item(), 2.5);
      assert.deepEqual(tensor([2.5]).sum().shape, []);
      assert.deepEqual(empty([0, 4]).toArray(), []);
    });
  });
});

describe('operators', () => {
  test('choose between tensor and number forms', () => {
    scope(() => {
      const a = tensor([1, 2, 3]);
      assert.deepEqual(a.add(tensor([1, 1, 1]), { alpha: 2 }).toArray(), [3, 4, 5]);
      assert.deepEqual(a.add(1, { alpha: 2 }).toArray(), [3, 4, 5]);
      assert.deepEqual(a.pow(2).toArray(), [1, 4, 9]);
      assert.deepEqual(where(a.gt(1), a, a.neg()).toArray(), [-1, 2, 3]);
    });
  });

  test('whole numbers leave integer tensors integer', () => {
    scope(() => {
      assert.equal(arange(0, 3).mul(2).dtype, 'int64');
      assert.equal(arange(0, 3).mul(0.5).dtype, 'float32');
    });
  });

  test('in-place operators return the same tensor and make no handle', () => {
    scope(() => {
      const a = tensor([1, 2]);
      const before = liveTensors();
      assert.equal(a.add_(1), a);
      assert.equal(liveTensors(), before);
      assert.deepEqual(a.toArray(), [2, 3]);
    });
  });

  test('take lists, optional lists and return lists and tuples', () => {
    scope(() => {
      const joined = cat([tensor([1, 2]), tensor([3, 4])]);
      assert.deepEqual(joined.toArray(), [1, 2, 3, 4]);
      assert.deepEqual(
        joined.chunk(2).map((part) => part.toArray()),
        [
          [1, 2],
          [3, 4],
        ],
      );
      const [values, indices] = joined.topk(2);
      assert.deepEqual(
        [values.toArray(), indices.toArray()],
        [
          [4, 3],
          [3, 2],
        ],
      );
      assert.equal(joined.sum().item(), 10);
      assert.deepEqual(joined.view([2, 2]).sum([1]).toArray(), [3, 7]);
      assert.equal(joined.equal(joined.clone()), true);
    });
  });

  test('a refused call is one clean line with operator, shapes and dtypes', () => {
    scope(() => {
      const a = empty([2, 3]);
      const b = arange(0, 4).view([2, 2]);
      assert.throws(
        () => a.mm(b),
        (error: unknown) => {
          assert.ok(error instanceof TrainyardError);
          assert.equal(error.code, 'TENSOR_OPERATOR');
          assert.equal(error.report.where, 'aten::mm');
          assert.equal(error.report.got, 'self Float[2, 3], mat2 Long[2, 2]');
          assert.doesNotMatch(error.message, /Exception raised|frame #|\.cpp/);
          return true;
        },
      );
    });
  });

  test('an argument of the wrong kind is refused before libtorch sees it', () => {
    scope(() => {
      const a = tensor([1]);
      assert.throws(() => a.add('one' as unknown as number), { code: 'TENSOR_OPERATOR' });
      assert.throws(() => a.view('x' as unknown as number[]), /Argument 2 must be an array/);
    });
  });
});

describe('ownership', () => {
  test('a scope frees what was made in it, and nothing else', () => {
    const before = liveTensors();
    const kept = scope(() => {
      const outer = tensor([1]);
      scope(() => outer.add(1));
      assert.equal(liveTensors(), before + 2, 'the inner result passed to the outer scope');
      return keep(tensor([5]));
    });
    assert.equal(liveTensors(), before + 1);
    assert.deepEqual(kept.toArray(), [5]);
    kept.dispose();
    assert.equal(liveTensors(), before);
  });

  test('returned tensors survive in arrays and objects', () => {
    scope(() => {
      const result = scope(() => ({ pair: [tensor([1]), tensor([2])], number: 3 }));
      assert.deepEqual(
        result.pair.map((each) => each.item()),
        [1, 2],
      );
    });
  });

  test('a kept tensor that passes through scopes stays with its keeper', () => {
    const kept = scope(() => keep(tensor([1])));
    scope(() => scope(() => kept));
    assert.equal(kept.isFreed, false);
    kept.dispose();
  });

  test('a scope frees when its body throws', () => {
    const before = liveTensors();
    assert.throws(() =>
      scope(() => {
        tensor([1]);
        throw new Error('mine');
      }),
    );
    assert.equal(liveTensors(), before);
  });

  test('use after free is an error that says what it was', () => {
    const escaped: Tensor[] = [];
    scope(() => {
      const inner = tensor([1, 2], [2, 1]);
      assert.equal(inner.dtype, 'float32');
      assert.deepEqual(inner.shape, [2, 1]);
      escaped.push(inner);
    });
    for (const tensor of escaped) {
      assert.throws(() => tensor.add(1), { code: 'TENSOR_FREED' });
      assert.throws(() => tensor.item(), /float32 \[2, 1\]/);
    }
  });

  test('a stale handle is refused by the add-on too', () => {
    scope(() => {
      const stale = new Tensor(123_456_789);
      stale.owner = undefined;
      assert.throws(() => stale.sum(), { code: 'TENSOR_FREED' });
    });
  });

  test('disposing twice is harmless', () => {
    const before = liveTensors();
    const one = keep(tensor([1]));
    one.dispose();
    one.dispose();
    assert.equal(liveTensors(), before);
  });

  test('scopes close in reverse order and refuse promises', () => {
    const outer = new Scope();
    const inner = new Scope();
    assert.throws(() => outer.close(), { code: 'TENSOR_FREED' });
    inner.close();
    assert.throws(() => scope(() => Promise.resolve()), { code: 'TENSOR_FREED' });
  });
});

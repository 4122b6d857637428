import { markAsUntransferable } from 'node:worker_threads';
import { native } from '../native/native.js';
import { DTYPES, type DType } from './dtype.js';
import { Tensor } from './tensor.js';

/** Typed arrays whose element type is a dtype's. */
type NumberArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array
  | BigInt64Array;

/** A tensor with a copy of the values. The dtype is the array's; plain numbers become float32. */
export function tensor(values: NumberArray | readonly number[], shape?: readonly number[]): Tensor {
  const array: NumberArray = ArrayBuffer.isView(values) ? values : Float32Array.from(values);
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return new Tensor(native.fromBytes(bytes, shape ?? [array.length], DTYPES[dtypeOfArray(array)].code));
}

/** A tensor with a copy of raw little-endian bytes in row-major order. */
export function fromBytes(bytes: Uint8Array, shape: readonly number[], dtype: DType): Tensor {
  return new Tensor(native.fromBytes(bytes, shape, DTYPES[dtype].code));
}

/**
 * A tensor over the bytes themselves, without a copy; writing to one writes to the other. The buffer stays
 * alive as long as the tensor's memory is in use, and is copied where it would be transferred to another thread: so
 * its memory stays where it is. Not for memory that others may resize or transfer by other means.
 */
export function viewBytes(bytes: Uint8Array, shape: readonly number[], dtype: DType): Tensor {
  markAsUntransferable(bytes.buffer);
  return new Tensor(native.fromExternal(bytes, shape, DTYPES[dtype].code));
}

function dtypeOfArray(array: NumberArray): DType {
  if (array instanceof Float32Array) return 'float32';
  if (array instanceof Float64Array) return 'float64';
  if (array instanceof BigInt64Array) return 'int64';
  if (array instanceof Int32Array) return 'int32';
  if (array instanceof Int16Array) return 'int16';
  if (array instanceof Int8Array) return 'int8';
  return 'uint8';
}

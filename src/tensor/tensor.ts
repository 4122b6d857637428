import { TrainyardError } from '../base/errors.js';
import type { Handle } from '../native/binding.js';
import { native } from '../native/native.js';
import { type Device, DTYPES, type DType, dtypeOfCode } from './dtype.js';
import { TensorOperators } from './generated/tensor-operators.js';
import { innermostScope, Scope, type ScopedTensor } from './scope.js';

/**
 * An n-dimensional array in libtorch's memory. Methods are ATen's operators by their names in camelCase
 * (`add`, `matmul`, `transpose`, in-place ones with a trailing underscore).
 *
 * It is freed by the scope it was made in, by `dispose()`, or at the latest, with an alarm, when the garbage
 * collector finds it unreachable. Any use after that throws TENSOR_FREED.
 */
export class Tensor extends TensorOperators implements ScopedTensor {
  owner: Scope | undefined = undefined;
  #shape: readonly number[] | undefined;
  #dtype: DType | undefined;
  #device: Device | undefined;

  /** Takes charge of a native handle. Users create tensors with the functions of this floor. */
  constructor(public rawHandle: Handle) {
    super();
    const scope = innermostScope();
    if (scope !== undefined) scope.add(this);
    else watch(this, rawHandle, 'nobody');
  }

  override get handle(): Handle {
    if (this.rawHandle === 0) throw freed(this.#shape, this.#dtype);
    return this.rawHandle;
  }

  protected override wrap(handle: Handle): Tensor {
    return new Tensor(handle);
  }

  /** Sizes of the dimensions. */
  get shape(): readonly number[] {
    this.#shape ??= native.shapeOf(this.handle);
    return this.#shape;
  }

  /** Forgets the shape, dtype and device that were read before: an operator may have changed them in place. */
  override forgetMetadata(): void {
    this.#shape = undefined;
    this.#dtype = undefined;
    this.#device = undefined;
  }

  /** Elements between neighbours along each dimension. */
  get strides(): readonly number[] {
    return native.stridesOf(this.handle);
  }

  get dtype(): DType {
    this.#dtype ??= dtypeOfCode(native.dtypeOf(this.handle));
    return this.#dtype;
  }

  get device(): Device {
    this.#device ??= native.deviceOf(this.handle) as Device;
    return this.#device;
  }

  /** The number of elements. */
  get elements(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  get isFreed(): boolean {
    return this.rawHandle === 0;
  }

  get requiresGrad(): boolean {
    return native.requiresGrad(this.handle);
  }

  set requiresGrad(value: boolean) {
    native.setRequiresGrad(this.handle, value);
  }

  /** The accumulated gradient of a leaf, as a tensor of its own handle over the same memory. */
  get grad(): Tensor | undefined {
    const handle = native.gradOf(this.handle);
    return handle === undefined ? undefined : new Tensor(handle);
  }

  set grad(gradient: Tensor | undefined) {
    native.setGrad(this.handle, gradient?.handle);
  }

  /** The value of a one-element tensor. Waits for the device. */
  item(): number {
    return native.itemOf(this.handle);
  }

  /** The elements in row-major order, copied to host memory, as raw little-endian bytes. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.elements * DTYPES[this.dtype].bytes);
    this.copyToBytes(bytes);
    return bytes;
  }

  /** As `toBytes`, into memory of the caller that has exactly this size. */
  copyToBytes(target: Uint8Array): void {
    native.copyToBytes(this.handle, target);
  }

  /** The elements in row-major order as fp32. */
  toFloat32Array(): Float32Array {
    return new Float32Array(this.#bytesAs('float32').buffer);
  }

  /** The elements in row-major order as 64-bit integers. */
  toBigInt64Array(): BigInt64Array {
    return new BigInt64Array(this.#bytesAs('int64').buffer);
  }

  /** The elements in row-major order as JavaScript numbers. */
  toArray(): number[] {
    const values = new Float64Array(this.#bytesAs('float64').buffer);
    // `Array.from` goes by an iterator, which takes ten times as long.
    const array = new Array<number>(values.length);
    for (let index = 0; index < values.length; index += 1) array[index] = values[index] as number;
    return array;
  }

  /** Frees the memory now. Freeing twice is harmless. */
  dispose(): void {
    if (this.rawHandle === 0) return;
    const handle = this.rawHandle;
    this.rawHandle = 0;
    if (this.owner === undefined) unscoped.unregister(this);
    native.free(handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #bytesAs(dtype: DType): Uint8Array {
    if (this.dtype === dtype) return this.toBytes();
    const converted = this.to(dtype);
    const bytes = converted.toBytes();
    converted.dispose();
    return bytes;
  }
}

/**
 * Runs `body` and frees every tensor made in it, except those it returns (a tensor, or arrays and plain
 * objects of tensors), which pass to the scope around it.
 *
 * @throws TrainyardError TENSOR_FREED when `body` is asynchronous: it would free what is still in use.
 */
export function scope<Result>(body: () => Result): Result {
  const inner = new Scope();
  let survivors: readonly Tensor[] = [];
  try {
    const result = body();
    if (result instanceof Promise) {
      throw new TrainyardError('TENSOR_FREED', {
        what: 'The body of a scope returned a promise.',
        cure: 'await outside the scope, or keep() the tensors and dispose them',
      });
    }
    survivors = releaseFrom(inner, result);
    return result;
  } finally {
    inner.close();
    for (const tensor of survivors) adopt(tensor);
  }
}

/** Takes a tensor out of its scope: the caller disposes it. Returns the same tensor. */
export function keep<Kept extends Tensor>(tensor: Kept): Kept {
  if (tensor.owner !== undefined) {
    tensor.owner = undefined;
    watch(tensor, tensor.handle, 'keeper');
  }
  return tensor;
}

/** How many tensors are alive in the add-on: constant over steps in a program without leaks. */
export function liveTensors(): number {
  return native.liveHandles();
}

/** Takes the tensors of a result out of the closing scope and lists them. */
function releaseFrom(closing: Scope, value: unknown): readonly Tensor[] {
  if (value instanceof Tensor) {
    if (value.owner !== closing) return [];
    value.owner = undefined;
    return [value];
  }
  if (Array.isArray(value)) return value.flatMap((element) => releaseFrom(closing, element));
  if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.values(value).flatMap((element) => releaseFrom(closing, element));
  }
  return [];
}

/** Gives a tensor without an owner to the innermost scope. */
function adopt(tensor: Tensor): void {
  const outer = innermostScope();
  if (outer !== undefined) outer.add(tensor);
  else watch(tensor, tensor.handle, 'nobody');
}

/** Who was to free a tensor that the garbage collector found: the one who kept it, or nobody. */
type Keeper = 'keeper' | 'nobody';

function watch(tensor: Tensor, handle: Handle, owner: Keeper): void {
  unscoped.register(tensor, { handle, owner }, tensor);
}

// A tensor outside every scope was collected. If somebody had kept it, it died with its keeper; if nobody had,
// that is a mistake, and its memory is given back late and noisily.
const unscoped = new FinalizationRegistry<{ readonly handle: Handle; readonly owner: Keeper }>(
  ({ handle, owner }) => {
    native.free(handle);
    if (owner === 'keeper') return;
    process.emitWarning('A tensor outside every scope was freed by the garbage collector.', {
      code: 'TRAINYARD_TENSOR_LEAK',
      detail:
        'Use scope(() => …), `using`, or dispose() so that its memory is freed when it is no longer needed.',
    });
  },
);

function freed(shape: readonly number[] | undefined, dtype: DType | undefined): TrainyardError {
  const known = [dtype, shape === undefined ? undefined : `[${shape.join(', ')}]`].filter(Boolean).join(' ');
  return new TrainyardError('TENSOR_FREED', {
    what: 'A tensor was used after it was freed.',
    ...(known === '' ? {} : { got: known }),
    cure: 'return it from its scope, or keep() it and dispose it yourself',
  });
}

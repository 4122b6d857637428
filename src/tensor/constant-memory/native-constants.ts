import type { NativeObject } from '../../native/binding.js';
import { native } from '../../native/native.js';
import type { ConstantMemory } from '../constant-memory.js';
import { DTYPES, type DType } from '../dtype.js';
import { Tensor } from '../tensor.js';

/** Constant memory as the add-on holds it. */
export class NativeConstants implements ConstantMemory {
  constructor(readonly memory: NativeObject) {}

  tensor(byteOffset: number, shape: readonly number[], dtype: DType): Tensor {
    return new Tensor(native.constantTensor(this.memory, byteOffset, shape, DTYPES[dtype].code));
  }

  close(): void {
    native.closeConstants(this.memory);
  }
}

import type { SafetensorsDtype } from './dtype.js';

/** Where a tensor lies in its file, and what it is. */
export interface TensorEntry {
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** From the beginning of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** Reports a broken rule of the format, about one tensor where `tensor` is given. */
export type RefuseFile = (rule: string, got?: string, tensor?: string) => never;

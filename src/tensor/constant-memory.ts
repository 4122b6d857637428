import type { DType } from './dtype.js';
import type { Tensor } from './tensor.js';

/**
 * Memory that does not change any more, which every process of a host has in common: its pages are in memory once,
 * however many ranks there are. An operator that is to write a tensor over it is an error (TENSOR_CONSTANT), and
 * its pages are protected, so that what escapes that check ends the process and not the others' results.
 *
 * Two kinds: a file's own pages (`mapConstantFile`), and memory that one process fills (`shareConstants`) and the
 * others open (`openConstants`).
 */
export interface ConstantMemory {
  /** A tensor over a part of it, in row-major order. The memory stays as long as its last tensor. */
  tensor(byteOffset: number, shape: readonly number[], dtype: DType): Tensor;
  /** Lets go of what no tensor needs. */
  close(): void;
}

import type { DType } from './dtype.js';
import { Tensor } from './tensor.js';

/** A transfer that has been started. */
export interface Transfer {
  /**
   * Blocks until it is done; until then nobody may touch its tensor. Waiting again is harmless.
   *
   * @throws TrainyardError when it failed
   */
  wait(): void;
}

/** A flat tensor that lies elsewhere than in the memory of its device, and is read and written in parts. */
export interface FlatStore {
  readonly elements: number;
  readonly dtype: DType;
  /** The same as a tensor, where it lies in memory that the processor of the host reads and writes itself. */
  readonly memory?: Tensor | undefined;
  /** Starts to fill a flat, contiguous tensor of the same dtype with the elements from `offset` on. */
  read(target: Tensor, offset: number): Transfer;
  /** Starts to write a flat, contiguous tensor of the same dtype over the elements from `offset` on. */
  write(source: Tensor, offset: number): Transfer;
}

/** A transfer that had nothing to do, or is done. */
export const finishedTransfer: Transfer = { wait: () => {} };

/** A flat tensor, in memory or elsewhere. */
export type FlatSlice = Tensor | FlatStore;

/** Whether a slice lies elsewhere than in memory. */
export function isStored(slice: FlatSlice): slice is FlatStore {
  return !(slice instanceof Tensor);
}

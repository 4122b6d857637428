import type { DType } from '../tensor/dtype.js';
import type { FlatStore } from '../tensor/flat-store.js';

/** Where flat tensors lie that are not on the device: one contract for host memory and for files on a disk. */
export interface Tier {
  /**
   * Room for flat tensors of these lengths, which begin as zeros.
   *
   * @param name what they are, for files and errors; each name once
   * @throws TrainyardError OFFLOAD_UNUSABLE where there is no room
   */
  allocate(name: string, lengths: readonly number[], dtype: DType): readonly FlatStore[];
  /** Gives all of it back. */
  close(): void;
}

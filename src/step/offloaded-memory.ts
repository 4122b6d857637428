import type { FlatStore } from '../tensor/flat-store.js';

/** What of this rank's own slices lies elsewhere than on the device between its uses, one store per block. */
export interface OffloadedMemory {
  /** As blocks compute with them; undefined for a block whose slice stays in memory. */
  readonly parameters: readonly (FlatStore | undefined)[];
  /** Sums over the micro-batches so far, fp32; undefined for a block whose gradients stay in memory. */
  readonly gradients: readonly (FlatStore | undefined)[];
}

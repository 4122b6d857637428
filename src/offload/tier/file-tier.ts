import { FILE_ALIGNMENT } from '../../store/direct-files/alignment.js';
import type { DirectFile, DirectFolder } from '../../store/direct-files.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { type FlatStore, finishedTransfer } from '../../tensor/flat-store.js';
import type { Tier } from '../tier.js';
import { FileStore } from './file-store.js';

/** Files on a disk that go with the process: one for each kind of slice, each of its slices from a page on. */
export class FileTier implements Tier {
  readonly #folder: DirectFolder;
  readonly #files: DirectFile[] = [];

  /** @param folder is closed with the tier */
  constructor(folder: DirectFolder) {
    this.#folder = folder;
  }

  allocate(name: string, lengths: readonly number[], dtype: DType): readonly FlatStore[] {
    const { bytes: size } = DTYPES[dtype];
    const spaces = lengths.map((elements) => Math.ceil((elements * size) / FILE_ALIGNMENT) * FILE_ALIGNMENT);
    const total = spaces.reduce((sum, space) => sum + space, 0);
    if (total === 0) return lengths.map(() => emptyStore(dtype));
    const file = this.#folder.create(name, total);
    this.#files.push(file);
    let start = 0;
    return lengths.map((elements, index): FlatStore => {
      const store = elements === 0 ? emptyStore(dtype) : new FileStore({ file, start, elements, dtype });
      start += spaces[index] ?? 0;
      return store;
    });
  }

  close(): void {
    for (const file of this.#files) file.close();
    this.#folder.close();
  }
}

function emptyStore(dtype: DType): FlatStore {
  return { elements: 0, dtype, read: () => finishedTransfer, write: () => finishedTransfer };
}

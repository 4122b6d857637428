import { closeSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { noGrad } from '../../tensor/autograd.js';
import { viewBytes } from '../../tensor/create.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { type FlatStore, finishedTransfer } from '../../tensor/flat-store.js';
import { scope } from '../../tensor/tensor.js';
import type { Tier } from '../tier.js';

/** Slices begin where files may be read and written past the page cache. */
const ALIGNMENT = 4096;

/** Files on a disk, one for each kind of slice, with the slices of all blocks one after the other. */
export class FileTier implements Tier {
  readonly #folder: string;
  readonly #files: number[] = [];

  constructor(folder: string) {
    this.#folder = folder;
  }

  allocate(name: string, lengths: readonly number[], dtype: DType): readonly FlatStore[] {
    const { bytes: size } = DTYPES[dtype];
    const file = openSync(join(this.#folder, `${name}.bin`), 'w+');
    this.#files.push(file);
    let end = 0;
    const stores = lengths.map((elements): FlatStore => {
      const start = end;
      end += Math.ceil((elements * size) / ALIGNMENT) * ALIGNMENT;
      return {
        elements,
        dtype,
        read(target, offset) {
          const bytes = new Uint8Array(target.elements * size);
          readSync(file, bytes, 0, bytes.byteLength, start + offset * size);
          noGrad(() => scope(() => void target.copy_(viewBytes(bytes, target.shape, dtype))));
          return finishedTransfer;
        },
        write(source, offset) {
          writeSync(file, source.toBytes(), 0, source.elements * size, start + offset * size);
          return finishedTransfer;
        },
      };
    });
    ftruncateSync(file, end);
    return stores;
  }

  close(): void {
    for (const file of this.#files) closeSync(file);
  }
}

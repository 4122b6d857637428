import { FILE_ALIGNMENT } from '../../store/direct-files/alignment.js';
import type { DirectFile, DirectFolder } from '../../store/direct-files.js';
import { alignedZeros } from '../../tensor/aligned-buffers.js';
import { noGrad } from '../../tensor/autograd.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { type FlatStore, finishedTransfer, type Transfer } from '../../tensor/flat-store.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import type { Tier } from '../tier.js';

/** Files on a disk, one for each slice, that go with the process. */
export class FileTier implements Tier {
  readonly #folder: DirectFolder;
  readonly #files: DirectFile[] = [];

  /** @param folder is closed with the tier */
  constructor(folder: DirectFolder) {
    this.#folder = folder;
  }

  allocate(name: string, lengths: readonly number[], dtype: DType): readonly FlatStore[] {
    return lengths.map((elements, index): FlatStore => {
      if (elements === 0) return emptyStore(dtype);
      const file = this.#folder.create(`${name} of block ${index}`, elements * DTYPES[dtype].bytes);
      this.#files.push(file);
      return new FileStore(file, elements, dtype);
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

/**
 * A slice in a file. What begins and ends at pages is read and written where it lies; the rest, and what lies on a GPU,
 * passes through whole pages of memory, and is there when the call returns.
 */
class FileStore implements FlatStore {
  constructor(
    readonly file: DirectFile,
    readonly elements: number,
    readonly dtype: DType,
  ) {}

  read(target: Tensor, offset: number): Transfer {
    const range = this.#rangeOf(target, offset);
    if (range.isWhole && target.device === 'cpu') return this.file.read(range.start, target, 0, range.bytes);
    scope(() => {
      const pages = this.#readPages(range);
      noGrad(() => target.copy_(pages.narrow(0, range.skipped, target.elements)));
    });
    return finishedTransfer;
  }

  write(source: Tensor, offset: number): Transfer {
    const range = this.#rangeOf(source, offset);
    if (range.isWhole && source.device === 'cpu') return this.file.write(range.start, source, 0, range.bytes);
    scope(() => {
      const pages = range.isWhole ? this.#pages(range) : this.#readPages(range);
      noGrad(() => pages.narrow(0, range.skipped, source.elements).copy_(source));
      this.file.write(range.start, pages, 0, range.bytes).wait();
    });
    return finishedTransfer;
  }

  #readPages(range: PageRange): Tensor {
    const pages = this.#pages(range);
    this.file.read(range.start, pages, 0, range.bytes).wait();
    return pages;
  }

  #pages({ bytes }: PageRange): Tensor {
    return alignedZeros([bytes / DTYPES[this.dtype].bytes], this.dtype);
  }

  #rangeOf({ elements }: Tensor, offset: number): PageRange {
    const { bytes: size } = DTYPES[this.dtype];
    const [first, last] = [offset * size, (offset + elements) * size];
    const start = Math.floor(first / FILE_ALIGNMENT) * FILE_ALIGNMENT;
    const end = Math.min(this.file.bytes, Math.ceil(last / FILE_ALIGNMENT) * FILE_ALIGNMENT);
    return {
      start,
      bytes: end - start,
      skipped: (first - start) / size,
      isWhole: start === first && end === last,
    };
  }
}

/** Whole pages of a file, or pages up to its end, around a range of elements. */
interface PageRange {
  readonly start: number;
  readonly bytes: number;
  /** Elements of the pages before the range. */
  readonly skipped: number;
  /** Whether the range is all of them. */
  readonly isWhole: boolean;
}

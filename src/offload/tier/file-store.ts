import { FILE_ALIGNMENT } from '../../store/direct-files/alignment.js';
import type { DirectFile, FileWork } from '../../store/direct-files.js';
import { alignedZeros } from '../../tensor/aligned-buffers.js';
import { noGrad } from '../../tensor/autograd.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { type FlatStore, finishedTransfer, type Transfer } from '../../tensor/flat-store.js';
import { keep, scope, type Tensor } from '../../tensor/tensor.js';

/** Where a slice lies: from a page of a file on, and no other slice is in its last page. */
export interface FilePlace {
  readonly file: DirectFile;
  /** In bytes. */
  readonly start: number;
  readonly elements: number;
  readonly dtype: DType;
}

/**
 * A slice in a file. What begins at a page, and ends at one or with the slice, is read and written where it lies in
 * memory. The rest, and what lies on a GPU, passes through whole pages of memory, and is there when the call returns.
 */
export class FileStore implements FlatStore {
  readonly elements: number;
  readonly dtype: DType;
  readonly #place: FilePlace;
  /** Of an element. */
  readonly #bytes: number;

  constructor(place: FilePlace) {
    this.elements = place.elements;
    this.dtype = place.dtype;
    this.#place = place;
    this.#bytes = DTYPES[place.dtype].bytes;
  }

  read(target: Tensor, offset: number): Transfer {
    if (!this.#isDirect(target, offset)) {
      scope(() => {
        const { pages, skipped } = this.#readPages(target, offset);
        noGrad(() => target.copy_(pages.narrow(0, skipped, target.elements)));
      });
      return finishedTransfer;
    }
    const { file } = this.#place;
    const start = this.#place.start + offset * this.#bytes;
    const { body, tail } = this.#parts(target);
    const works: FileWork[] = body === 0 ? [] : [file.read(start, target, 0, body)];
    if (tail === 0) return together(works);
    const page = keep(this.#pages(FILE_ALIGNMENT));
    works.push(file.read(start + body, page, 0, FILE_ALIGNMENT));
    return together(works, () => {
      noGrad(() => scope(() => void this.#tailOf(target).copy_(page.narrow(0, 0, tail / this.#bytes))));
      page.dispose();
    });
  }

  write(source: Tensor, offset: number): Transfer {
    const { file } = this.#place;
    if (!this.#isDirect(source, offset)) {
      scope(() => {
        const { pages, start, bytes, skipped } = this.#readPages(source, offset);
        noGrad(() => pages.narrow(0, skipped, source.elements).copy_(source));
        file.write(start, pages, 0, bytes).wait();
      });
      return finishedTransfer;
    }
    const start = this.#place.start + offset * this.#bytes;
    const { body, tail } = this.#parts(source);
    const works: FileWork[] = body === 0 ? [] : [file.write(start, source, 0, body)];
    if (tail === 0) return together(works);
    // Nobody else is in this page.
    const page = keep(this.#pages(FILE_ALIGNMENT));
    noGrad(() => scope(() => void page.narrow(0, 0, tail / this.#bytes).copy_(this.#tailOf(source))));
    works.push(file.write(start + body, page, 0, FILE_ALIGNMENT));
    return together(works, () => page.dispose());
  }

  #isDirect({ elements, device }: Tensor, offset: number): boolean {
    const endsWell = (elements * this.#bytes) % FILE_ALIGNMENT === 0 || offset + elements === this.elements;
    return device === 'cpu' && (offset * this.#bytes) % FILE_ALIGNMENT === 0 && endsWell;
  }

  /** Bytes of whole pages, and those behind them. */
  #parts({ elements }: Tensor): { readonly body: number; readonly tail: number } {
    const tail = (elements * this.#bytes) % FILE_ALIGNMENT;
    return { body: elements * this.#bytes - tail, tail };
  }

  #tailOf(tensor: Tensor): Tensor {
    const elements = this.#parts(tensor).tail / this.#bytes;
    return tensor.narrow(0, tensor.elements - elements, elements);
  }

  /** The pages that elements lie in, and how many elements are before them. */
  #readPages({ elements }: Tensor, offset: number) {
    const [first, last] = [offset * this.#bytes, (offset + elements) * this.#bytes];
    const from = Math.floor(first / FILE_ALIGNMENT) * FILE_ALIGNMENT;
    const bytes = Math.ceil(last / FILE_ALIGNMENT) * FILE_ALIGNMENT - from;
    const pages = this.#pages(bytes);
    const start = this.#place.start + from;
    this.#place.file.read(start, pages, 0, bytes).wait();
    return { pages, start, bytes, skipped: (first - from) / this.#bytes };
  }

  #pages(bytes: number): Tensor {
    return alignedZeros([bytes / this.#bytes], this.dtype);
  }
}

/** Several works as one, with something to do at their end. */
function together(works: readonly FileWork[], finish: () => void = () => {}): Transfer {
  let isDone = false;
  return {
    wait() {
      if (isDone) return;
      for (const work of works) work.wait();
      isDone = true;
      finish();
    },
  };
}

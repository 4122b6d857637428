import { invariant } from '../base/errors.js';
import { native } from '../native/native.js';
import { DTYPES, type DType } from './dtype.js';
import { keep, Tensor } from './tensor.js';

/** A tensor of zeros whose memory begins at a page and lies on large pages: direct I/O takes it without a copy. */
export function alignedZeros(shape: readonly number[], dtype: DType): Tensor {
  return new Tensor(native.alignedTensor(shape, DTYPES[dtype].code));
}

/**
 * Such memory, lent and taken back. There is as much of it as was ever lent at once, and never more than a limit: what is
 * idle and does not fit goes before more is made.
 */
export class AlignedBuffers {
  readonly #limitBytes: number;
  readonly #idle = new Set<Tensor>();
  readonly #lent = new Set<Tensor>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** What is lent and idle together. */
  get bytes(): number {
    return this.#bytes;
  }

  /** [elements], with whatever the last borrower has left in it. Whoever takes more than the limit has miscounted. */
  take(elements: number, dtype: DType): Tensor {
    const buffer = this.#reuse(elements, dtype) ?? this.#make(elements, dtype);
    this.#lent.add(buffer);
    return buffer;
  }

  /** Takes a buffer back; nothing may be under way in it. */
  give(buffer: Tensor): void {
    invariant(this.#lent.delete(buffer), 'a buffer goes back to the pool that lent it');
    this.#idle.add(buffer);
  }

  /** Frees all, what is lent included. */
  dispose(): void {
    for (const buffer of [...this.#idle, ...this.#lent]) buffer.dispose();
    this.#idle.clear();
    this.#lent.clear();
    this.#bytes = 0;
  }

  #reuse(elements: number, dtype: DType): Tensor | undefined {
    const buffer = [...this.#idle].find((each) => each.elements === elements && each.dtype === dtype);
    if (buffer !== undefined) this.#idle.delete(buffer);
    return buffer;
  }

  #make(elements: number, dtype: DType): Tensor {
    const bytes = elements * DTYPES[dtype].bytes;
    for (const buffer of this.#idle) {
      if (this.#bytes + bytes <= this.#limitBytes) break;
      this.#bytes -= bytesOf(buffer);
      this.#idle.delete(buffer);
      buffer.dispose();
    }
    invariant(
      this.#bytes + bytes <= this.#limitBytes,
      `a pool of ${this.#limitBytes} bytes has ${this.#bytes} lent and cannot lend ${bytes} more`,
    );
    this.#bytes += bytes;
    return keep(alignedZeros([elements], dtype));
  }
}

function bytesOf({ elements, dtype }: Tensor): number {
  return elements * DTYPES[dtype].bytes;
}

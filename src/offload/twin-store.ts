import type { DType } from '../tensor/dtype.js';
import type { FlatStore, Transfer } from '../tensor/flat-store.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Two stores of equal length that change places: a step works with the one while the update of the step before works with
 * the other. It is itself the one that steps work with.
 */
export class TwinStore implements FlatStore {
  /** The one that the update under way works with, whichever that is. */
  readonly other: FlatStore;
  #now: FlatStore;
  #other: FlatStore;

  constructor(now: FlatStore, other: FlatStore) {
    this.#now = now;
    this.#other = other;
    this.other = whichever(() => this.#other);
  }

  get elements(): number {
    return this.#now.elements;
  }

  get dtype(): DType {
    return this.#now.dtype;
  }

  get memory(): Tensor | undefined {
    return this.#now.memory;
  }

  read(target: Tensor, offset: number): Transfer {
    return this.#now.read(target, offset);
  }

  write(source: Tensor, offset: number): Transfer {
    return this.#now.write(source, offset);
  }

  /** Nothing may be on its way. */
  changePlaces(): void {
    [this.#now, this.#other] = [this.#other, this.#now];
  }
}

function whichever(store: () => FlatStore): FlatStore {
  return {
    get elements() {
      return store().elements;
    },
    get dtype() {
      return store().dtype;
    },
    get memory() {
      return store().memory;
    },
    read: (target, offset) => store().read(target, offset),
    write: (source, offset) => store().write(source, offset),
  };
}

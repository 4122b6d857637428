import type { NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';

/**
 * Runs backwards that keep the products which are the gradients of weight matrices: of `fusedLinear` and
 * `fusedLinearCrossEntropy` the output's gradient and the input stay in memory, and the gradient of the weight is as it
 * was. All other gradients are added as ever, those of the inputs among them, so that whoever waits for these can go on
 * (the split of zero-bubble pipelines, arXiv 2401.10241).
 */
export function deferProducts(backward: () => void): DeferredProducts {
  return new DeferredProducts(native.collectProducts(backward));
}

/** The factors of products that backwards have left to do, outside every scope: `add` or `dispose` frees them. */
export class DeferredProducts {
  readonly #products: NativeObject;

  constructor(products: NativeObject) {
    this.#products = products;
  }

  /**
   * Adds the products to the gradients, in the order in which they came up, and frees the factors. The sums are those
   * of a backward that defers nothing, bit by bit, as long as nobody else has added to the same gradients in between.
   */
  add(): void {
    native.addProducts(this.#products);
  }

  /** Frees the factors. Freeing twice is harmless. */
  dispose(): void {
    native.freeProducts(this.#products);
  }
}

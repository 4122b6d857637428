import { TrainyardError } from '../base/errors.js';
import { native } from '../native/native.js';

/** What a scope needs to know of a tensor. `Tensor` is the only implementation. */
export interface ScopedTensor {
  /** The native handle; 0 once freed. */
  rawHandle: number;
  /** The scope that will free it; undefined when somebody keeps it. */
  owner: Scope | undefined;
}

/**
 * Owns the tensors made while it is the innermost open scope and frees them when it closes.
 *
 * JavaScript's garbage collector cannot see libtorch's memory, so native memory has rules in place of a
 * collector: what is made in a scope dies with it unless returned from `scope()` or given to `keep()`.
 * With `using scope = new Scope()` a scope closes at the end of the block.
 */
export class Scope {
  readonly #tensors: ScopedTensor[] = [];
  #open = true;

  constructor() {
    open.push(this);
  }

  /** Takes charge of a tensor. */
  add(tensor: ScopedTensor): void {
    tensor.owner = this;
    this.#tensors.push(tensor);
  }

  /** Frees every tensor still owned and leaves the stack of open scopes. Closing twice is harmless. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    const position = open.lastIndexOf(this);
    if (position !== open.length - 1) {
      throw new TrainyardError('TENSOR_FREED', {
        what: 'A scope was closed while one opened after it is still open.',
        cure: 'close scopes in reverse order; `scope(() => …)` and `using` do so by themselves',
      });
    }
    open.pop();
    this.#freeOwned();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #freeOwned(): void {
    const handles = new Int32Array(this.#tensors.length);
    let count = 0;
    for (const tensor of this.#tensors) {
      if (tensor.owner !== this || tensor.rawHandle === 0) continue;
      handles[count] = tensor.rawHandle;
      tensor.rawHandle = 0;
      count += 1;
    }
    if (count > 0) native.freeMany(handles, count);
  }
}

// The open scopes, innermost last. Forward and backward are synchronous, so a process-wide stack is sound;
// `scope` refuses asynchronous bodies to keep it so.
const open: Scope[] = [];

/** The scope that new tensors belong to, if any is open. */
export function innermostScope(): Scope | undefined {
  return open[open.length - 1];
}

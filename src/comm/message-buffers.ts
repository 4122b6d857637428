import { noGrad } from '../tensor/autograd.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, type Tensor } from '../tensor/tensor.js';

/**
 * Memory for messages that arrive, used again and again: as many buffers as messages were ever on their way at
 * once, each as long as the longest that it had to hold. What a transport keeps of a finished message is then
 * memory that is needed anyway.
 */
export class MessageBuffers {
  readonly #free: Tensor[] = [];

  /** A flat buffer with at least the elements of a tensor, of its dtype and on its device. Give it back. */
  take(like: Tensor): Tensor {
    const { dtype, device, elements } = like;
    const index = this.#free.findIndex((buffer) => buffer.dtype === dtype && buffer.device === device);
    const [found] = index === -1 ? [] : this.#free.splice(index, 1);
    if (found !== undefined && found.elements >= elements) return found;
    found?.dispose();
    return keep(noGrad(() => empty([elements], { dtype, device })));
  }

  give(buffer: Tensor): void {
    this.#free.push(buffer);
  }

  dispose(): void {
    for (const buffer of this.#free.splice(0)) buffer.dispose();
  }
}

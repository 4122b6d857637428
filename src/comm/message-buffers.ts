import { noGrad } from '../tensor/autograd.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, type Tensor } from '../tensor/tensor.js';

/**
 * Memory for messages that arrive, used again and again: as many buffers as messages were ever on their way at
 * once, each as long as the longest message. What a transport keeps of a finished message is then
 * memory that is needed anyway.
 */
export class MessageBuffers {
  readonly #free: Tensor[] = [];
  /** Elements of the longest message so far. */
  #longest = 0;

  /** A flat buffer with at least the elements of a tensor, of its dtype and on its device. Give it back. */
  take(like: Pick<Tensor, 'dtype' | 'device' | 'elements'>): Tensor {
    const { dtype, device, elements } = like;
    const index = this.#free.findIndex((buffer) => buffer.dtype === dtype && buffer.device === device);
    const [found] = index === -1 ? [] : this.#free.splice(index, 1);
    this.#longest = Math.max(this.#longest, elements);
    if (found !== undefined && found.elements >= this.#longest) return found;
    found?.dispose();
    return keep(noGrad(() => empty([this.#longest], { dtype, device })));
  }

  give(buffer: Tensor): void {
    this.#free.push(buffer);
  }

  dispose(): void {
    for (const buffer of this.#free.splice(0)) buffer.dispose();
  }
}

import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { directAllReduce } from './direct-exchange.js';
import { MessageBuffers } from './message-buffers.js';
import type { ProcessGroup, Reduction } from './process-group.js';
import type { Work } from './work.js';

/** A group whose sums are made in the order of ranks, so that they do not depend on the algorithm or on timing. */
export class OrderedGroup implements ProcessGroup {
  readonly #group: ProcessGroup;
  readonly #buffers = new MessageBuffers();
  readonly sumsInOrder = true;
  readonly readsInPlace = false;

  constructor(group: ProcessGroup) {
    this.#group = group;
  }

  get rank(): number {
    return this.#group.rank;
  }

  get worldSize(): number {
    return this.#group.worldSize;
  }

  get exchangedBytes(): number {
    return this.#group.exchangedBytes;
  }

  allocate(elements: number, dtype: DType): Tensor {
    return this.#group.allocate(elements, dtype);
  }

  allReduce(tensor: Tensor, reduction: Reduction): Work {
    return this.worldSize === 1
      ? this.#group.allReduce(tensor, reduction)
      : directAllReduce(this.#group, this.#buffers, tensor, reduction);
  }

  broadcast(tensor: Tensor, root: number): Work {
    return this.#group.broadcast(tensor, root);
  }

  allGather(output: Tensor, input: Tensor): Work {
    return this.#group.allGather(output, input);
  }

  reduceScatter(output: Tensor, inputs: readonly Tensor[], reduction: Reduction): Work {
    return this.#group.reduceScatter(output, inputs, reduction);
  }

  allToAll(output: Tensor, input: Tensor): Work {
    return this.#group.allToAll(output, input);
  }

  send(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#group.send(tensor, peer, tag);
  }

  receive(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#group.receive(tensor, peer, tag);
  }

  barrier(): Work {
    return this.#group.barrier();
  }

  withDeadline(timeoutMs: number): ProcessGroup {
    return new OrderedGroup(this.#group.withDeadline(timeoutMs));
  }

  close(): void {
    this.#group.close();
    this.#buffers.dispose();
  }
}

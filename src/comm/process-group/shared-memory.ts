import type { DType } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { ProcessGroup, Reduction } from '../process-group.js';
import type { SharedMemory } from '../shared-memory.js';
import type { Work } from '../work.js';

/**
 * Collectives between ranks that are all on one host, in memory that they share. Messages between two ranks, and
 * reductions of numbers that are not summed there, are the other transport's.
 */
export class SharedMemoryGroup implements ProcessGroup {
  readonly rank: number;
  readonly worldSize: number;
  readonly sumsInOrder = true;
  readonly readsInPlace = true;
  readonly #memory: SharedMemory;
  readonly #transport: ProcessGroup;

  constructor(memory: SharedMemory, transport: ProcessGroup) {
    this.#memory = memory;
    this.#transport = transport;
    this.rank = memory.rank;
    this.worldSize = memory.worldSize;
  }

  get exchangedBytes(): number {
    return this.#memory.exchangedBytes + this.#transport.exchangedBytes;
  }

  /** Such waits are few, and the other transport serves for them. */
  withDeadline(timeoutMs: number): ProcessGroup {
    // Here first: a rank that is in another operation shows in the memory, and not to the other transport.
    this.#memory.barrier().wait();
    return this.#transport.withDeadline(timeoutMs);
  }

  allocate(elements: number, dtype: DType): Tensor {
    return this.#memory.allocate(elements, dtype);
  }

  allReduce(tensor: Tensor, reduction: Reduction): Work {
    return this.#reducing(tensor).allReduce(tensor, reduction);
  }

  broadcast(tensor: Tensor, root: number): Work {
    return this.#memory.broadcast(tensor, root);
  }

  allGather(output: Tensor, input: Tensor): Work {
    return this.#memory.allGather(output, input);
  }

  reduceScatter(output: Tensor, inputs: readonly Tensor[], reduction: Reduction): Work {
    return this.#reducing(output).reduceScatter(output, inputs, reduction);
  }

  allToAll(output: Tensor, input: Tensor): Work {
    return this.#memory.allToAll(output, input);
  }

  send(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#transport.send(tensor, peer, tag);
  }

  receive(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#transport.receive(tensor, peer, tag);
  }

  barrier(): Work {
    return this.#memory.barrier();
  }

  close(): void {
    if (this.#memory.close()) this.#transport.close();
  }

  #reducing({ dtype }: Tensor): Pick<ProcessGroup, 'allReduce' | 'reduceScatter'> {
    return this.#memory.combines(dtype) ? this.#memory : this.#transport;
  }
}

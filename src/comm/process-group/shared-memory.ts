import type { NativeObject } from '../../native/binding.js';
import { native } from '../../native/native.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { Tensor } from '../../tensor/tensor.js';
import type { ProcessGroup, Reduction } from '../process-group.js';
import { collectiveFailure, finishedWork, type Work } from '../work.js';
import { describeTensor, requireDivisible, requireInputs, requireLayout, requireRank } from './layout.js';

/** The add-on's numbers for what it does (native/shared-memory/shared-group.h, combine.h). */
const KINDS = { allReduce: 0, reduceScatter: 1, allGather: 2, broadcast: 3, barrier: 4 } as const;
const REDUCTIONS = { sum: 0, mean: 1, max: 2 } as const satisfies Record<Reduction, number>;

/** What the add-on adds up; other numbers travel by the other transport. */
const COMBINED: readonly DType[] = ['float32', 'float64', 'float16', 'bfloat16', 'int64', 'int32'];

export interface SharedMemoryOptions {
  readonly rank: number;
  readonly worldSize: number;
  readonly timeoutMs: number;
  /**
   * Operations of at least so many bytes run on a thread beside the caller, others when they are waited for.
   * Infinity where every core computes already.
   */
  readonly besideFromBytes: number;
}

/**
 * Collectives between the ranks of one host, in memory that they share. Sums are made in the order of ranks.
 * Tensors that `allocate` gave out are read and written where they are; others are copied on the way.
 *
 * Messages between two ranks, and reductions of numbers that it does not know, are the other transport's.
 */
export class SharedMemoryGroup implements ProcessGroup {
  readonly rank: number;
  readonly worldSize: number;
  readonly sumsInOrder = true;
  readonly readsInPlace = true;
  readonly #native: NativeObject;
  readonly #options: SharedMemoryOptions;
  readonly #transport: ProcessGroup;
  #state: 'open' | 'broken' | 'closed' = 'open';

  /** @param group the add-on's group, in which every rank has met */
  constructor(group: NativeObject, options: SharedMemoryOptions, transport: ProcessGroup) {
    this.#native = group;
    this.#options = options;
    this.#transport = transport;
    this.rank = options.rank;
    this.worldSize = options.worldSize;
  }

  get exchangedBytes(): number {
    const read = this.#state === 'closed' ? 0 : native.sharedExchangedBytes(this.#native);
    return read + this.#transport.exchangedBytes;
  }

  /** Such waits are few, and the other transport serves for them. */
  withDeadline(timeoutMs: number): ProcessGroup {
    return this.#transport.withDeadline(timeoutMs);
  }

  allocate(elements: number, dtype: DType): Tensor {
    return new Tensor(native.sharedTensor([elements], DTYPES[dtype].code));
  }

  allReduce(tensor: Tensor, reduction: Reduction): Work {
    if (tensor.elements === 0) return finishedWork;
    requireDivisible(tensor, reduction);
    if (!COMBINED.includes(tensor.dtype)) return this.#transport.allReduce(tensor, reduction);
    return this.#start('allReduce', REDUCTIONS[reduction], tensor);
  }

  broadcast(tensor: Tensor, root: number): Work {
    requireRank('broadcast', root, this.worldSize);
    return tensor.elements === 0 ? finishedWork : this.#start('broadcast', root, tensor);
  }

  allGather(output: Tensor, input: Tensor): Work {
    requireLayout('allGather', output, input, this.worldSize);
    return input.elements === 0 ? finishedWork : this.#start('allGather', 0, output, [input]);
  }

  reduceScatter(output: Tensor, inputs: readonly Tensor[], reduction: Reduction): Work {
    requireInputs(output, inputs, this.worldSize);
    requireDivisible(output, reduction);
    if (output.elements === 0) return finishedWork;
    if (!COMBINED.includes(output.dtype)) return this.#transport.reduceScatter(output, inputs, reduction);
    return this.#start('reduceScatter', REDUCTIONS[reduction], output, inputs);
  }

  send(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#transport.send(tensor, peer, tag);
  }

  receive(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#transport.receive(tensor, peer, tag);
  }

  barrier(): Work {
    return this.#start('barrier', 0);
  }

  /** After a failure everything is left as it is: the process is about to end. */
  close(): void {
    if (this.#state === 'open') {
      native.closeSharedGroup(this.#native);
      this.#transport.close();
    }
    this.#state = 'closed';
  }

  #start(kind: keyof typeof KINDS, detail: number, output?: Tensor, inputs?: readonly Tensor[]): Work {
    const bytes = (output?.elements ?? 0) * (output === undefined ? 0 : DTYPES[output.dtype].bytes);
    const ticket = native.startShared(
      this.#native,
      KINDS[kind],
      detail,
      bytes >= this.#options.besideFromBytes,
      output?.handle,
      inputs?.map(({ handle }) => handle),
    );
    let isDone = false;
    return {
      wait: () => {
        if (!isDone) this.#finish(ticket, kind, output);
        isDone = true;
      },
    };
  }

  #finish(ticket: number, kind: keyof typeof KINDS, output: Tensor | undefined): void {
    const startedMs = performance.now();
    try {
      native.waitShared(this.#native, ticket);
    } catch (error) {
      this.#state = 'broken';
      const operation = output === undefined ? kind : `${kind} of ${describeTensor(output)}`;
      const place = `rank ${this.rank} of ${this.worldSize}`;
      const { timeoutMs } = this.#options;
      throw collectiveFailure(error, { operation, place, timeoutMs }, performance.now() - startedMs);
    }
  }
}

import { TrainyardError } from '../../base/errors.js';
import type { NativeObject } from '../../native/binding.js';
import { native } from '../../native/native.js';
import { noGrad } from '../../tensor/autograd.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { zeros } from '../../tensor/generated/functions.js';
import type { Tensor } from '../../tensor/tensor.js';
import { directAllGather, directAllToAll, directReduceScatter } from '../direct-exchange.js';
import { MessageBuffers } from '../message-buffers.js';
import type { ProcessGroup, Reduction } from '../process-group.js';
import { collectiveFailure, finishedWork, NativeWork, type Work } from '../work.js';
import { describeTensor, requireDivisible, requireInputs, requireLayout, requireParts } from './layout.js';

/** The add-on's numbers for what Gloo reduces by; it knows no mean. */
const REDUCTIONS = { sum: 0, mean: 0, max: 1 } as const satisfies Record<Reduction, number>;

/** How long a rank that closes waits for the others before it leaves all the same. */
const LONGEST_FAREWELL_MS = 5_000;

/** Where a group's ranks meet, and which of them this is. */
export interface GlooOptions {
  readonly rank: number;
  readonly worldSize: number;
  /** Network interface, such as "lo"; empty means the one of the host's name. */
  readonly networkInterface: string;
  /** The deadline of every operation. */
  readonly timeoutMs: number;
  /** As `WorkDescription.look`, for every operation. */
  readonly look?: () => string | undefined;
}

/** Collectives over TCP on host memory, by Gloo through c10d's ProcessGroupGloo. */
export class GlooGroup implements ProcessGroup {
  readonly rank: number;
  readonly worldSize: number;
  readonly sumsInOrder = false;
  readonly readsInPlace = false;
  #sentBytes = 0;
  readonly #store: NativeObject;
  readonly #prefix: string;
  readonly #options: GlooOptions;
  readonly #group: NativeObject;
  readonly #closeStore: () => void;
  readonly #buffers = new MessageBuffers();
  #state: 'open' | 'broken' | 'closed' = 'open';
  /** How many groups were made of this one. */
  #descendants = 0;

  /**
   * Connects to every other rank of the group, which must be doing the same.
   *
   * @param store a store that all ranks share; `closeStore` ends it with the group
   * @param prefix for the group's keys in it; no two groups share one
   */
  constructor(store: NativeObject, prefix: string, options: GlooOptions, closeStore: () => void) {
    this.rank = options.rank;
    this.worldSize = options.worldSize;
    this.#store = store;
    this.#prefix = prefix;
    this.#options = options;
    this.#closeStore = closeStore;
    const { rank, worldSize, networkInterface, timeoutMs } = options;
    this.#group = native.createGlooGroup({ store, prefix, rank, worldSize, networkInterface, timeoutMs });
  }

  get exchangedBytes(): number {
    return this.#sentBytes;
  }

  allocate(elements: number, dtype: DType): Tensor {
    return zeros([elements], { dtype });
  }

  allReduce(tensor: Tensor, reduction: Reduction): Work {
    if (tensor.elements === 0) return finishedWork;
    // Its ring sends every element once to be summed and once as a sum, but for one rank's share of each.
    this.#sentBytes += (2 * bytesOf(tensor) * (this.worldSize - 1)) / this.worldSize;
    return this.#start(
      `allReduce (${reduction}) of ${describeTensor(tensor)}`,
      () => native.allReduce(this.#group, tensor.handle, REDUCTIONS[reduction]),
      this.#finisher(tensor, reduction),
    );
  }

  broadcast(tensor: Tensor, root: number): Work {
    if (tensor.elements === 0) return finishedWork;
    // Every other rank gets it once, from the root or from one that has it.
    this.#sentBytes += root === this.rank ? bytesOf(tensor) * (this.worldSize - 1) : 0;
    const operation = `broadcast from rank ${root} of ${describeTensor(tensor)}`;
    return this.#start(operation, () => native.broadcast(this.#group, tensor.handle, root));
  }

  allGather(output: Tensor, input: Tensor): Work {
    requireLayout('allGather', output, input, this.worldSize);
    if (input.elements === 0) return finishedWork;
    return directAllGather(this, output, input);
  }

  reduceScatter(output: Tensor, inputs: readonly Tensor[], reduction: Reduction): Work {
    requireInputs(output, inputs, this.worldSize);
    requireDivisible(output, reduction);
    return output.elements === 0
      ? finishedWork
      : directReduceScatter(this, this.#buffers, output, inputs, reduction);
  }

  allToAll(output: Tensor, input: Tensor): Work {
    requireParts(output, input, this.worldSize);
    return input.elements === 0 ? finishedWork : directAllToAll(this, output, input);
  }

  send(tensor: Tensor, peer: number, tag = 0): Work {
    if (tensor.elements === 0) return finishedWork;
    this.#sentBytes += bytesOf(tensor);
    const operation = `send to rank ${peer} of ${describeTensor(tensor)}`;
    return this.#start(operation, () => native.send(this.#group, tensor.handle, peer, tag));
  }

  receive(tensor: Tensor, peer: number, tag = 0): Work {
    if (tensor.elements === 0) return finishedWork;
    const operation = `receive from rank ${peer} of ${describeTensor(tensor)}`;
    return this.#start(operation, () => native.receive(this.#group, tensor.handle, peer, tag));
  }

  barrier(): Work {
    return this.#start('barrier', () => native.barrier(this.#group));
  }

  withDeadline(timeoutMs: number): ProcessGroup {
    // Connecting waits for absent ranks until the new deadline: they come together under the old one first.
    this.barrier().wait();
    const prefix = `${this.#prefix}/${this.#descendants++}`;
    return new GlooGroup(this.#store, prefix, { ...this.#options, timeoutMs }, () => {});
  }

  /**
   * After a failure the transport is abandoned as it is: its threads may wait for the lost peer until their own
   * deadline, and the process is about to end.
   */
  close(): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'open') this.#farewell();
    if (this.#state === 'open') {
      native.closeGroup(this.#group);
      this.#closeStore();
    }
    this.#buffers.dispose();
    this.#state = 'closed';
  }

  /** A rank that left while another still waits for its answer would look like one that died. */
  #farewell(): void {
    const timeoutMs = Math.min(this.#options.timeoutMs, LONGEST_FAREWELL_MS);
    try {
      if (!native.waitWork(native.barrier(this.#group), timeoutMs)) this.#state = 'broken';
    } catch {
      this.#state = 'broken';
    }
  }

  #start(operation: string, begin: () => NativeObject, finish?: () => void): Work {
    const description = {
      operation,
      place: `rank ${this.rank} of ${this.worldSize}`,
      timeoutMs: this.#options.timeoutMs,
      look: this.#options.look,
      ...(finish === undefined ? {} : { finish }),
      onFailure: () => {
        this.#state = 'broken';
      },
    };
    try {
      return new NativeWork(begin(), description);
    } catch (error) {
      if (!(error instanceof TrainyardError && error.code === 'COLLECTIVE_FAILED')) throw error;
      description.onFailure();
      throw collectiveFailure(error, description, 0);
    }
  }

  #finisher(tensor: Tensor, reduction: Reduction): (() => void) | undefined {
    if (reduction !== 'mean' || this.worldSize === 1) return undefined;
    requireDivisible(tensor, reduction);
    return () => void noGrad(() => tensor.div_(this.worldSize));
  }
}

function bytesOf({ elements, dtype }: Tensor): number {
  return elements * DTYPES[dtype].bytes;
}

import { TrainyardError } from '../base/errors.js';
import type { NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import { Tensor } from '../tensor/tensor.js';
import {
  describeTensor,
  requireDivisible,
  requireInputs,
  requireLayout,
  requireParts,
  requireRank,
} from './process-group/layout.js';
import type { Reduction } from './process-group.js';
import { collectiveFailure, finishedWork, type Work } from './work.js';

/** The add-on's numbers for what it does (native/shared-memory/shared-group.h, combine.h). */
const KINDS = {
  allReduce: 0,
  reduceScatter: 1,
  allGather: 2,
  broadcast: 3,
  barrier: 4,
  allToAll: 5,
} as const;
const REDUCTIONS = { sum: 0, mean: 1, max: 2 } as const satisfies Record<Reduction, number>;

/** What the add-on adds up; other numbers travel by another transport. */
const COMBINED: readonly DType[] = ['float32', 'float64', 'float16', 'bfloat16', 'int64', 'int32'];

export interface SharedMemoryOptions {
  /** Among those that share the memory, as are roots and inputs. */
  readonly rank: number;
  readonly worldSize: number;
  /** The ranks that share it, as errors name them, and how many there are in all. */
  readonly members: readonly number[];
  readonly allRanks: number;
  readonly timeoutMs: number;
  /**
   * Operations of at least so many bytes run on a thread beside the caller, others when they are waited for.
   * Infinity where every core computes already.
   */
  readonly besideFromBytes: number;
}

/**
 * Collectives between ranks of one host, all of a group's or a part of them, in memory that they share. Sums are made
 * in the order of ranks, those of 16 bits in fp32. Tensors that `allocate` gave out are read and written where they
 * are; others are copied on the way.
 */
export class SharedMemory {
  readonly rank: number;
  readonly worldSize: number;
  readonly #native: NativeObject;
  readonly #options: SharedMemoryOptions;
  #state: 'open' | 'broken' | 'closed' = 'open';

  /** @param group the add-on's group, in which every rank has met */
  constructor(group: NativeObject, options: SharedMemoryOptions) {
    this.#native = group;
    this.#options = options;
    this.rank = options.rank;
    this.worldSize = options.worldSize;
  }

  /** As `ProcessGroup.exchangedBytes`. */
  get exchangedBytes(): number {
    return this.#state === 'closed' ? 0 : native.sharedExchangedBytes(this.#native);
  }

  /** Whether it can reduce such numbers. */
  combines(dtype: DType): boolean {
    return COMBINED.includes(dtype);
  }

  allocate(elements: number, dtype: DType): Tensor {
    return new Tensor(native.sharedTensor([elements], DTYPES[dtype].code));
  }

  allReduce(tensor: Tensor, reduction: Reduction): Work {
    requireDivisible(tensor, reduction);
    return tensor.elements === 0 ? finishedWork : this.#start('allReduce', REDUCTIONS[reduction], tensor);
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
    return output.elements === 0
      ? finishedWork
      : this.#start('reduceScatter', REDUCTIONS[reduction], output, inputs);
  }

  allToAll(output: Tensor, input: Tensor): Work {
    requireParts(output, input, this.worldSize);
    return input.elements === 0 ? finishedWork : this.#start('allToAll', 0, output, [input]);
  }

  barrier(): Work {
    return this.#start('barrier', 0);
  }

  /**
   * After a failure everything is left as it is: the process is about to end.
   *
   * @returns whether it could be closed
   */
  close(): boolean {
    const isOpen = this.#state === 'open';
    if (isOpen) native.closeSharedGroup(this.#native);
    this.#state = 'closed';
    return isOpen;
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
      const { members, allRanks, timeoutMs } = this.#options;
      const place = `rank ${members[this.rank]} of ${allRanks}`;
      const cause = withNamesOf(members, error);
      throw collectiveFailure(cause, { operation, place, timeoutMs }, performance.now() - startedMs);
    }
  }
}

/** The add-on counts the ranks that share; people know them by their numbers among all. */
function withNamesOf(members: readonly number[], error: unknown): unknown {
  if (!(error instanceof TrainyardError)) return error;
  const what = error.report.what.replace(
    /\brank (\d+)/g,
    (_, index: string) => `rank ${members[Number(index)]}`,
  );
  return new TrainyardError(error.code, { ...error.report, what }, { cause: error });
}

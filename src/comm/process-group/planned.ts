import { TrainyardError } from '../../base/errors.js';
import type { DType } from '../../tensor/dtype.js';
import { zeros } from '../../tensor/generated/functions.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import { ALGORITHMS, type AlgorithmName } from '../algorithm.js';
import type { ChooseAlgorithm, CollectiveCall } from '../choose-algorithm.js';
import {
  type HierarchicalRun,
  hierarchicalAllGather,
  hierarchicalAllReduce,
  hierarchicalReduceScatter,
} from '../hierarchical-in-memory.js';
import { MessageBuffers } from '../message-buffers.js';
import { type PlanMemory, placeOwn, ScatterMemory, WholeMemory } from '../plan-memory.js';
import type { ProcessGroup, Reduction, StagesOf } from '../process-group.js';
import { reductionStages } from '../reduction-stages.js';
import { runPlan } from '../run-plan.js';
import type { SharedMemory } from '../shared-memory.js';
import { StagedWorks, type Stages } from '../staged-work.js';
import type { Hosts } from '../topology.js';
import { finishedWork, type Work } from '../work.js';
import { describeTensor, requireDivisible, requireInputs, requireLayout } from './layout.js';

export interface PlannedGroupOptions {
  /** Carries the messages, and does what is not planned. It is closed with the group. */
  readonly transport: ProcessGroup;
  readonly hosts: Hosts;
  readonly choose: ChooseAlgorithm;
  /** Of the ranks of this host, where every host has such and all are regular. */
  readonly shared?: SharedMemory | undefined;
}

/** Tags of its collectives begin here; so many later ones begin again. */
const FIRST_TAG = 0x7c_0000;
const TAGS = 0x1_0000;

/**
 * Collectives by algorithms of our own over another group's messages: of each call the elements, the dtype and the
 * layout of the ranks decide which. Sums are made in an order that the algorithm says, and so do not depend on timing;
 * it is not that of ranks.
 */
export class PlannedGroup implements ProcessGroup {
  readonly rank: number;
  readonly worldSize: number;
  readonly sumsInOrder = false;
  readonly readsInPlace = false;
  readonly #options: PlannedGroupOptions;
  readonly #transport: ProcessGroup;
  readonly #works = new StagedWorks();
  readonly #buffers = new MessageBuffers();
  #collectives = 0;
  #isOpen = true;

  constructor(options: PlannedGroupOptions) {
    this.#options = options;
    this.#transport = options.transport;
    this.rank = options.transport.rank;
    this.worldSize = options.transport.worldSize;
  }

  get stagesOf(): StagesOf {
    const { choose, hosts, shared } = this.#options;
    return reductionStages(choose, hosts, shared !== undefined);
  }

  get exchangedBytes(): number {
    return this.#transport.exchangedBytes + (this.#options.shared?.exchangedBytes ?? 0);
  }

  allocate(elements: number, dtype: DType): Tensor {
    return this.#options.shared?.allocate(elements, dtype) ?? zeros([elements], { dtype });
  }

  allReduce(tensor: Tensor, reduction: Reduction): Work {
    requireDivisible(tensor, reduction);
    if (tensor.elements === 0) return finishedWork;
    const { elements, dtype } = tensor;
    const call = { collective: 'all-reduce', elements, dtype } as const;
    const algorithm = this.#options.choose(call);
    if (algorithm === 'backend') return this.#pass(() => this.#transport.allReduce(tensor, reduction));
    const shared = this.#sharedFor(algorithm, dtype);
    const memory = () => new WholeMemory(tensor, this.#buffers);
    const stages =
      shared === undefined
        ? this.#run(algorithm, call, memory, summed(reduction))
        : hierarchicalAllReduce(shared, tensor, summed(reduction));
    const divided = this.#divided(stages, tensor, reduction);
    return this.#start(`allReduce (${reduction})`, algorithm, tensor, divided);
  }

  broadcast(tensor: Tensor, root: number): Work {
    return this.#pass(() => this.#transport.broadcast(tensor, root));
  }

  allGather(output: Tensor, input: Tensor): Work {
    requireLayout('allGather', output, input, this.worldSize);
    if (input.elements === 0) return finishedWork;
    const { elements, dtype } = output;
    const call = { collective: 'all-gather', elements, dtype } as const;
    const algorithm = this.#options.choose(call);
    if (algorithm === 'backend') return this.#pass(() => this.#transport.allGather(output, input));
    const shared = this.#sharedFor(algorithm, dtype);
    const memory = () => {
      placeOwn(output, input, this.rank);
      return new WholeMemory(output, this.#buffers);
    };
    const stages =
      shared === undefined
        ? this.#run(algorithm, call, memory, 'sum')
        : hierarchicalAllGather(shared, output, input);
    return this.#start('allGather', algorithm, output, stages);
  }

  reduceScatter(output: Tensor, inputs: readonly Tensor[], reduction: Reduction): Work {
    requireInputs(output, inputs, this.worldSize);
    requireDivisible(output, reduction);
    if (output.elements === 0) return finishedWork;
    const { dtype } = output;
    const elements = output.elements * this.worldSize;
    const call = { collective: 'reduce-scatter', elements, dtype } as const;
    const algorithm = this.#options.choose(call);
    if (algorithm === 'backend')
      return this.#pass(() => this.#transport.reduceScatter(output, inputs, reduction));
    const shared = this.#sharedFor(algorithm, dtype);
    const memory = () => new ScatterMemory(output, inputs, this.rank, this.#buffers);
    const stages =
      shared === undefined
        ? this.#run(algorithm, call, memory, summed(reduction))
        : hierarchicalReduceScatter(shared, output, inputs, summed(reduction));
    const divided = this.#divided(stages, output, reduction);
    return this.#start(`reduceScatter (${reduction})`, algorithm, output, divided);
  }

  allToAll(output: Tensor, input: Tensor): Work {
    return this.#pass(() => this.#transport.allToAll(output, input));
  }

  send(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#transport.send(tensor, peer, tag);
  }

  receive(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#transport.receive(tensor, peer, tag);
  }

  barrier(): Work {
    return this.#pass(() => this.#transport.barrier());
  }

  withDeadline(timeoutMs: number): ProcessGroup {
    return this.#pass(() => this.#transport.withDeadline(timeoutMs));
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    // The farewell first: a rank may still be in the memory of this one.
    this.#transport.close();
    this.#options.shared?.close();
    this.disposeBuffers();
  }

  /** Frees the memory of messages that wait to be added, while none do; the next ones take new memory. */
  disposeBuffers(): void {
    this.#buffers.dispose();
  }

  /** What the other group does by itself; what is under way here goes on before. */
  #pass<Started>(start: () => Started): Started {
    this.#works.advance();
    return start();
  }

  #sharedFor(algorithm: AlgorithmName, dtype: DType): HierarchicalRun | undefined {
    const { shared, hosts } = this.#options;
    if (algorithm !== 'hierarchical' || shared === undefined || !shared.combines(dtype)) return undefined;
    const { rank } = this;
    return { shared, hosts, rank, transport: this.#transport, buffers: this.#buffers, tag: this.#nextTag() };
  }

  /** @param open makes the memory when the collective starts, in the scope of that */
  *#run(
    algorithm: AlgorithmName,
    { collective, elements, dtype }: CollectiveCall,
    open: () => PlanMemory,
    reduction: Reduction,
  ): Stages {
    const memory = open();
    const { rank } = this;
    const { hosts } = this.#options;
    const plan = ALGORITHMS[algorithm].plan({ collective, rank, hosts, elements });
    const tag = this.#nextTag();
    const like = { dtype, device: 'cpu' } as const;
    yield* runPlan({
      plan,
      transport: this.#transport,
      memory,
      buffers: this.#buffers,
      reduction,
      tag,
      like,
    });
    memory.dispose();
  }

  /** A mean is a sum, and then divided, once. */
  *#divided(stages: Stages, tensor: Tensor, reduction: Reduction): Stages {
    const result = keep(tensor.alias());
    yield* stages;
    if (reduction === 'mean') result.div_(this.worldSize);
    result.dispose();
  }

  #start(operation: string, algorithm: AlgorithmName, tensor: Tensor, stages: Stages): Work {
    return this.#works.start(named(`${operation} of ${describeTensor(tensor)} by ${algorithm}`, stages));
  }

  #nextTag(): number {
    this.#collectives += 1;
    return FIRST_TAG + (this.#collectives % TAGS);
  }
}

function summed(reduction: Reduction): Reduction {
  return reduction === 'mean' ? 'sum' : reduction;
}

/** Says of which collective a message was that failed. */
function* named(operation: string, stages: Stages): Stages {
  try {
    yield* stages;
  } catch (error) {
    if (!(error instanceof TrainyardError && error.code === 'COLLECTIVE_FAILED')) throw error;
    const { what, ...rest } = error.report;
    throw new TrainyardError(
      'COLLECTIVE_FAILED',
      { what: `${operation} failed: ${what}`, ...rest },
      { cause: error },
    );
  }
}

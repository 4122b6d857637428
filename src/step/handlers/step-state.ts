import { invariant } from '../../base/errors.js';
import type { CompressedTransport } from '../../comm/compressed-reductions.js';
import type { ProcessGroup } from '../../comm/process-group.js';
import type { Work } from '../../comm/work.js';
import type { Activations, Block, BlockParameters, MicroBatch } from '../../nn/block.js';
import type { FlatParameters, GradientMemory } from '../../nn/flat-parameters.js';
import type { SequenceAxis } from '../../nn/sequence-axis.js';
import type { OptimizerUpdate } from '../../optim/optimizer/update-rule.js';
import type { Optimizer } from '../../optim/optimizer.js';
import type { PendingUpdate } from '../../optim/pending-update.js';
import type { DeferredProducts } from '../../tensor/deferred-products.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { ErrorMemory } from '../message-errors.js';
import type { OffloadedMemory } from '../offloaded-memory.js';
import type { OuterMemory } from '../outer-memory.js';
import type { ShardMemory } from '../shard-memory.js';

/** What lasts from step to step on one rank. */
export interface StepResources {
  readonly blocks: readonly Block[];
  readonly parameters: FlatParameters;
  /** Absent in a world of one that brings no replicas together. */
  readonly group?: Pick<ProcessGroup, 'allReduce' | 'allGather' | 'reduceScatter'> & CompressedTransport;
  /** The ranks that own the same slices; absent where the training state is divided over all of the data axis. */
  readonly replicate?: Pick<ProcessGroup, 'rank' | 'allReduce'> & CompressedTransport;
  /** Absent where parameters have no second copy. */
  readonly secondary?: SecondaryMemory;
  /** The ranks that have other parts of the same blocks; absent where there is no such axis. */
  readonly tensor?: Pick<ProcessGroup, 'rank' | 'allReduce' | 'allGather'>;
  /** The ranks that have the other positions of the same sequences; absent where sequences are whole. */
  readonly sequenceAxis?: SequenceAxis;
  /** The stages that have the same parameter; absent where none is tied over stages. */
  readonly tied?: Pick<ProcessGroup, 'allReduce'>;
  /** Absent where every rank runs all blocks. */
  readonly stages?: StageLinks;
  /** Absent where every rank has all of the training state. */
  readonly shards?: ShardMemory;
  /** Absent where all of the training state is on the device. */
  readonly offloaded?: OffloadedMemory;
  /**
   * [trainable elements], fp32: what the parameters are cast from. Absent where blocks compute with the weights
   * themselves, and where those are divided.
   */
  readonly masters?: Tensor;
  /** [trainable elements], fp32: the running mean of gradients, where ranks exchange it in place of gradients. */
  readonly momentum?: Tensor;
  /** Absent where no message loses what must be made good. */
  readonly errors?: ErrorMemory;
  /** Absent where no replicas are brought together. */
  readonly outer?: OuterMemory;
  /** Absent where programs have no update. */
  readonly optimizer?: Optimizer;
  /** Absent where each step makes its own update. */
  readonly pending?: PendingUpdate;
}

/** A second copy of parameters and the ranks that divide it. */
export interface SecondaryMemory {
  readonly group: Pick<ProcessGroup, 'rank' | 'worldSize' | 'allGather'>;
  /** This rank's slice of a block's, of so many elements: as blocks compute with them. */
  sliceOf(block: number, elements: number): Tensor;
}

/** How a stage of a pipeline reaches the others. */
export interface StageLinks {
  /** The ranks of the stages, in their order. */
  readonly group: Pick<ProcessGroup, 'allGather' | 'send' | 'receive'>;
  /** Memory of its own for what a block of the model will hand on for this micro-batch: contiguous tensors. */
  emptyOutput(block: number, batch: MicroBatch): Activations;
}

/** What one step is given. */
export interface StepInputs {
  /** Makes micro-batch `micro` of this step; its tensors become the step's. */
  readonly nextBatch: (micro: number) => MicroBatch;
  /**
   * The factor on each token's loss while the step runs: any constant that is the same on all ranks and keeps
   * gradients in range. How many tokens the global batch has is known only after the reduction; `clip` turns
   * the scaled sum into their mean.
   */
  readonly lossScale: number;
  /** Dropout is active. */
  readonly training: boolean;
  /** What the optimizer is told, but for the factor on the gradients. */
  readonly update?: Omit<OptimizerUpdate, 'gradientScale'>;
  readonly wantLogits?: boolean;
  /** This rank was asked to stop. The ranks learn of each other's votes with the tally, and stop together. */
  readonly votesToStop?: boolean;
  /** Sees the output of each forward. The tensors are the step's: read them, do not keep them. */
  readonly onOutput?: (block: number, micro: number, output: Activations) => void;
}

/**
 * What one step found out, the same on all ranks. Where ranks train replicas, each says what it knows of its own, and
 * its part of the batch is what is called global below; a step that brings them together ends with what all know.
 */
export interface StepMetrics {
  /** Mean loss over the target tokens of the global batch; 0 when it has none. */
  readonly loss: number;
  /** Target tokens in the global batch; of replicas always those of this rank. */
  readonly tokens: number;
  /** Global norm of the gradient of that mean, before clipping. */
  readonly gradientNorm: number;
  /** Factor on the gradients in memory that makes them those of the mean. */
  readonly meanScale: number;
  /** The same, clipped. */
  readonly gradientScale: number;
  /** How many ranks were asked to stop before this step. */
  readonly stopVotes: number;
  /** The parameter whose gradient was the first to be infinite or NaN, where the program checks for it. */
  readonly overflow?: string;
  /** How far replicas were apart before they were brought together. */
  readonly drift?: ReplicaDrift;
}

/** ‖weights of a replica − their mean‖ / ‖mean‖, over the replicas. */
export interface ReplicaDrift {
  readonly mean: number;
  readonly max: number;
}

/** What the ranks agreed on after their backwards: sums over all of them. */
export interface Agreement {
  /** Of the scaled losses. */
  readonly lossSum: number;
  readonly tokens: number;
  readonly stopVotes: number;
  /** Of the squared gradients. */
  readonly squares: number;
}

/** Sums of squares over one rank's slice of the weights. */
export interface ReplicaDistances {
  /** Of the mean. */
  readonly mean: number;
  /** Of each replica's difference to it, in the order of ranks. */
  readonly differences: readonly number[];
}

/** What a forward leaves for its backward. */
export interface ForwardRecord {
  /** Detached from the block before: autograd ends here. Empty when the forward dropped what it made. */
  readonly input: Activations;
  readonly output: Activations;
  /** The random generator as a forward found it that dropped what it made and drew random numbers. */
  readonly randomState?: Uint8Array;
}

/** A started operation and the tensors that are freed when it is done. */
export interface Started {
  readonly work: Work;
  readonly tensors: readonly Tensor[];
  /** Whether something reads or writes the tensors' memory until it is done, whatever becomes of the step. */
  readonly keepsMemory?: true;
}

/** What the instructions of one step hand to each other. Made for one step, empty again at its end. */
export class StepState {
  readonly batches = new Slots<MicroBatch>('batch');
  /** By block and micro-batch. */
  readonly forwards = new Slots<ForwardRecord>('forward');
  /** By block and micro-batch. */
  readonly outputGradients = new Slots<Activations>('output gradient');
  /** What the first half of a backward leaves to the second, by block and micro-batch. */
  readonly deferred = new Slots<DeferredProducts>('deferred gradients');
  /** Copies in host memory of what outputs hold, by block and micro-batch. */
  readonly evicted = new Slots<Activations>('evicted output');
  /** By block: the sum of its gradients before this micro-batch, fetched to be added to. */
  readonly earlierGradients = new Slots<Tensor>('earlier gradients');
  /** By block: the sum of squares of the own slice of its gradients, where these went to another tier. */
  readonly squares = new Map<number, number>();
  readonly started = new Slots<Started>('start');
  /** Copies of what messages had lost before this step. */
  readonly errorsBefore = new Slots<readonly Tensor[]>('copy of errors');
  /** Set where no rank knows it alone. */
  agreed: Agreement | undefined;
  /** What this rank knows of how far replicas are apart, from its slice of each. */
  distances: ReplicaDistances | undefined;
  /** The parameter whose gradient overflowed first. */
  overflow: string | undefined;
  metrics: StepMetrics | undefined;

  constructor(
    readonly resources: StepResources,
    readonly inputs: StepInputs,
  ) {}

  get gradients(): GradientMemory {
    const { gradients } = this.resources.parameters;
    invariant(gradients, 'a step ran on parameters without gradients');
    return gradients;
  }

  get stages(): StageLinks {
    const { stages } = this.resources;
    invariant(stages, 'a program of stages ran on a rank without links to them');
    return stages;
  }

  /** [trainable elements], fp32: what the optimizer updates, where all of it is here. */
  get weights(): Tensor {
    const { masters, parameters } = this.resources;
    return masters ?? parameters.values;
  }

  get offloaded(): OffloadedMemory {
    const { offloaded } = this.resources;
    invariant(offloaded, 'a program with another tier ran where everything is in memory');
    return offloaded;
  }

  get pending(): PendingUpdate {
    const { pending } = this.resources;
    invariant(
      pending,
      'a program whose update is left to the next step ran with an optimizer that makes it at once',
    );
    return pending;
  }

  get shards(): ShardMemory {
    const { shards } = this.resources;
    invariant(shards, 'a program with sharding ran on undivided memory');
    return shards;
  }

  /** Frees what instructions left to each other: nothing at the end of a step, something when it failed. */
  dispose(): void {
    for (const { inputIds, labels } of this.batches.takeAll()) {
      inputIds.dispose();
      labels?.dispose();
    }
    for (const { input, output } of this.forwards.takeAll()) {
      disposeAll(input);
      disposeAll(output);
    }
    for (const gradients of this.outputGradients.takeAll()) disposeAll(gradients);
    for (const products of this.deferred.takeAll()) products.dispose();
    for (const copies of this.evicted.takeAll()) disposeAll(copies);
    for (const earlier of this.earlierGradients.takeAll()) earlier.dispose();
    for (const { work, tensors, keepsMemory } of this.started.takeAll()) {
      if (keepsMemory) awaitQuietly(work);
      for (const tensor of tensors) tensor.dispose();
    }
    for (const copy of this.errorsBefore.takeAll().flat()) copy.dispose();
  }

  isLast(block: number): boolean {
    return block === this.resources.blocks.length - 1;
  }

  /** Whether a trainable parameter of this block takes part in it. */
  trains(block: number): boolean {
    const slots = this.resources.parameters.layout.blocks[block] ?? [];
    return slots.some(({ trainable }) => trainable);
  }

  block(index: number): { readonly block: Block; readonly parameters: BlockParameters } {
    const block = this.resources.blocks[index];
    const parameters = this.resources.parameters.blocks[index];
    invariant(block && parameters, `there is no block ${index}`);
    return { block, parameters };
  }
}

/** Of a step that has failed already. */
function awaitQuietly(work: Work): void {
  try {
    work.wait();
  } catch {
    // What made the step fail is what its error says.
  }
}

/** Frees every tensor of a block's input or output. */
export function disposeAll(activations: Activations): void {
  for (const tensor of Object.values(activations)) tensor.dispose();
}

/** The tensors by name, in the order in which stages hand them to each other. */
export function inOrder(activations: Activations): readonly (readonly [string, Tensor])[] {
  return Object.entries(activations).sort(([left], [right]) => (left < right ? -1 : 1));
}

/** Things under the indices or the name that instructions know them by. */
class Slots<Thing> {
  readonly #things = new Map<string, Thing>();

  constructor(readonly kind: string) {}

  put(thing: Thing, ...key: readonly (number | string)[]): void {
    this.#things.set(key.join(' '), thing);
  }

  get(...key: readonly (number | string)[]): Thing {
    const thing = this.#things.get(key.join(' '));
    invariant(thing !== undefined, `there is no ${this.kind} ${key.join(' ')}`);
    return thing;
  }

  /** Takes the thing out. */
  take(...key: readonly (number | string)[]): Thing {
    const thing = this.get(...key);
    this.#things.delete(key.join(' '));
    return thing;
  }

  takeAll(): readonly Thing[] {
    const things = [...this.#things.values()];
    this.#things.clear();
    return things;
  }
}

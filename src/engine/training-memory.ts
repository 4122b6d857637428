import { invariant, TrainyardError } from '../base/errors.js';
import { nearestNames } from '../base/nearest-names.js';
import { quote } from '../base/printable.js';
import type { FlatLayout, FlatSlot } from '../nn/flat-layout.js';
import { FlatParameters, type FrozenMemory } from '../nn/flat-parameters.js';
import type { TrainingStores } from '../offload/training-stores.js';
import type { OptimizerMemory } from '../optim/optimizer.js';
import type { StepResources } from '../step/handlers/step-state.js';
import type { Sharding } from '../step/program.js';
import type { ShardMemory } from '../step/shard-memory.js';
import type { PieceSource } from '../store/checkpoint/write.js';
import { noGrad } from '../tensor/autograd.js';
import type { Device, DType } from '../tensor/dtype.js';
import type { FlatSlice } from '../tensor/flat-store.js';
import { empty, zeros } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import { type Partition, piecesOf, planPartition, sliceOf, undividedPartition } from '../zero/partition.js';
import { joinParts, partOf } from './divided-parameter.js';
import type { ParameterSource } from './fill-parameters.js';
import { fillSlice, readSlice } from './flat-slice.js';
import type { MeshGroups } from './mesh-groups.js';
import { ownPieces, shareOf } from './own-pieces.js';
import { SecondarySlices } from './secondary-slices.js';

export interface TrainingMemoryOptions {
  /** Of what this rank has of the model. */
  readonly layout: FlatLayout;
  /** The parameters of the whole model; left out: those of the layout. */
  readonly parameters?: readonly LogicalParameter[];
  /** The stage of a pipeline that a parameter is at home in, by its name; left out: every rank has all. */
  readonly homeOf?: (name: string) => number;
  /** How the program divides the training state; absent: not at all. */
  readonly sharding: Sharding | undefined;
  readonly axes: MeshGroups;
  /** What blocks compute with. Trained weights are kept in fp32 whatever it is. */
  readonly dtype: DType;
  readonly device: Device;
  /** Absent: frozen parameters are memory of this rank, to be filled like the others. */
  readonly frozen?: FrozenMemory;
  /** Own slices that lie in other tiers; absent: all are in memory. Closed with the memory. */
  readonly stores?: TrainingStores | undefined;
}

/** A parameter of the model as people and files know it, wherever its elements are. */
export type LogicalParameter = Pick<FlatSlot, 'name' | 'shape' | 'elements' | 'trainable'>;

/** The owners of memory in a layout, in the order of blocks and declarations. */
export function ownersIn({ blocks }: FlatLayout): readonly FlatSlot[] {
  return blocks.flat().filter(({ name, owner }) => name === owner);
}

/** What the optimizer updates, and what gradients add up in. */
const MASTER_DTYPE = 'float32';

/**
 * One rank's parameters and gradients, whole or in slices, and the way from them to logical tensors: a parameter
 * by its name, of its full shape, wherever its elements are.
 */
export class TrainingMemory {
  readonly parameters: FlatParameters;
  /**
   * The slices that this rank owns, as steps find them in memory; of undivided memory, all of it as one slice. One that
   * lies in another tier is empty.
   */
  readonly owned: ShardMemory;
  /** The same slices as they are kept from step to step, wherever they lie: fp32. */
  readonly weights: readonly FlatSlice[];
  /** Absent where nothing is divided. */
  readonly shards: ShardMemory | undefined;
  /** Whether the weights are apart from what blocks compute with. */
  readonly hasMasters: boolean;
  readonly stores: TrainingStores | undefined;
  readonly partition: Partition;
  /** The model's parameters with memory of their own, in the order of blocks and declarations. */
  readonly slots: readonly LogicalParameter[];
  /** What of them this rank has. */
  readonly ownSlots: readonly FlatSlot[];
  readonly #axes: MeshGroups;
  /** Absent where parameters have no second copy. */
  readonly #secondary: SecondarySlices | undefined;
  readonly #homeOf: ((name: string) => number) | undefined;
  /** The tensors that are disposed with this: views, or slices with memory of their own. */
  readonly #slices: readonly Tensor[];

  constructor(options: TrainingMemoryOptions) {
    const { layout, sharding, axes, dtype, device, frozen, stores } = options;
    this.stores = stores;
    this.#axes = axes;
    this.#secondary = axes.secondary && new SecondarySlices(axes.secondary, dtype, device);
    this.#homeOf = options.homeOf;
    this.ownSlots = ownersIn(layout);
    this.slots = options.parameters ?? this.ownSlots;
    this.hasMasters = dtype !== MASTER_DTYPE;
    const isWhole = {
      values: sharding?.parameters !== 'released',
      gradients: sharding?.gradients !== 'released',
    };
    const allocate = (elements: number, of: DType): Tensor =>
      device === 'cpu' ? axes.shard.allocate(elements, of) : zeros([elements], { dtype: of, device });
    const byBlock = { values: !isWhole.values, gradients: !isWhole.gradients };
    this.parameters = new FlatParameters(layout, {
      dtype,
      gradientDtype: MASTER_DTYPE,
      device,
      allocate,
      gradients: true,
      byBlock,
      ...(frozen && { frozen }),
    });
    this.partition =
      sharding === undefined ? undividedPartition(layout) : planPartition(layout, axes.shard.worldSize);
    // Where the masters are in another tier, a copy of the own slice is what gathers begin with.
    const ownDtype = (index: number): DType =>
      stores?.masters?.[index] === undefined ? MASTER_DTYPE : dtype;
    const slicesOf = (kind: 'values' | 'gradients'): readonly Tensor[] =>
      this.partition.ranges.map((_, index) => {
        const { start, end } = sliceOf(this.partition, index, this.#rank);
        const of = kind === 'values' ? ownDtype(index) : MASTER_DTYPE;
        if (stores?.[kind === 'values' ? 'parameters' : 'gradients'][index] !== undefined) {
          return keep(empty([0], { dtype: of, device }));
        }
        if (!isWhole[kind] || (kind === 'values' && of !== dtype)) {
          return keep(allocate(end - start, of));
        }
        const whole = kind === 'values' ? this.parameters.values : this.parameters.gradients?.values;
        invariant(whole, 'parameters to train have gradients');
        return keep(noGrad(() => whole.narrow(0, start, end - start)));
      });
    this.owned = { values: slicesOf('values'), gradients: slicesOf('gradients') };
    this.weights = this.owned.values.map(
      (slice, index) => stores?.masters?.[index] ?? stores?.parameters[index] ?? slice,
    );
    this.shards = sharding === undefined ? undefined : this.owned;
    this.#slices = [...this.owned.values, ...this.owned.gradients];
  }

  /** What the programs of this rank run on. */
  get resources(): Pick<StepResources, 'parameters' | 'shards' | 'masters' | 'secondary' | 'offloaded'> {
    const [masters] = this.owned.values;
    return {
      parameters: this.parameters,
      ...(this.stores && { offloaded: this.stores }),
      ...(this.#secondary && { secondary: this.#secondary }),
      ...(this.shards ? { shards: this.shards } : this.hasMasters && masters && { masters }),
    };
  }

  /** What an optimizer on this rank works on. */
  get pieces(): readonly OptimizerMemory[] {
    return this.owned.values.flatMap((parameters, index) => {
      const gradients = this.owned.gradients[index];
      return gradients === undefined ? [] : [{ parameters, gradients }];
    });
  }

  /** @throws TrainyardError PARAMETER_UNKNOWN when no parameter of this name has memory of its own. */
  slot(name: string): LogicalParameter {
    const slot = this.slots.find((each) => each.name === name);
    if (slot !== undefined) return slot;
    const names = this.slots.map((each) => each.name);
    const near = nearestNames(name, names);
    throw new TrainyardError('PARAMETER_UNKNOWN', {
      what: `The model has no parameter ${quote(name)} with memory of its own.`,
      expected: (near.length > 0 ? near : names.slice(0, 3)).map((each) => quote(each)).join(', '),
      cure: 'Take a name from engine.parameterNames; a tied parameter goes by the name of its owner.',
    });
  }

  /**
   * A parameter, or what is laid out like the parameters, whole on every rank. Every rank must call it.
   *
   * @param slices one per range of the partition
   * @returns a tensor of the parameter's shape; of a frozen one a view, of another a new one
   */
  read(parameter: LogicalParameter, slices: readonly FlatSlice[] = this.weights): Tensor {
    const home = this.#homeOf?.(parameter.name);
    return noGrad(() =>
      scope(() => {
        if (home === undefined) return this.#readPart(parameter, slices);
        const { pipeline } = this.#axes;
        const [{ dtype } = this.parameters.values] = slices;
        const { device } = this.parameters.values;
        const whole =
          home === pipeline.rank
            ? this.#readPart(parameter, slices)
            : empty(parameter.shape, { dtype, device });
        pipeline.broadcast(whole, home).wait();
        return whole;
      }),
    );
  }

  /** A parameter of this stage, whole. */
  #readPart({ name }: LogicalParameter, slices: readonly FlatSlice[]): Tensor {
    const own = this.#own(name);
    invariant(own, `${name} is not at home here`);
    const part = own.trainable
      ? this.#readOwn(own, slices)
      : this.parameters.owner(own.name).value.view(own.shape);
    return own.division === undefined ? part : joinParts(this.#axes.tensor, part, own.division);
  }

  /** What this rank and those along the data axis have of a parameter. */
  #readOwn(slot: FlatSlot, slices: readonly FlatSlice[]): Tensor {
    const [{ dtype } = this.parameters.values] = slices;
    const { device } = this.parameters.values;
    const whole = empty([slot.elements], { dtype, device });
    for (const { rank, range, sliceOffset, offset, elements } of piecesOf(this.partition, slot)) {
      const part = whole.narrow(0, offset, elements);
      if (rank === this.#rank) readSlice(sliceIn(slices, range), sliceOffset, part);
      if (this.partition.ranks > 1) this.#axes.shard.broadcast(part, rank).wait();
    }
    return whole.view(slot.shape);
  }

  #own(name: string): FlatSlot | undefined {
    return this.ownSlots.find((slot) => (slot.shared?.name ?? slot.name) === name);
  }

  /**
   * What this rank writes into a checkpoint of a trained parameter, or of what is laid out like the parameters.
   *
   * @param name under which it is saved
   */
  ownPieces(
    name: string,
    parameter: LogicalParameter,
    slices: readonly FlatSlice[] = this.weights,
  ): readonly PieceSource[] {
    const slot = this.#own(parameter.name);
    const home = this.#homeOf?.(parameter.name);
    const isHome = home === undefined || home === this.#axes.pipeline.rank;
    if (slot === undefined || !isHome) return [];
    const { data, replicate } = this.#axes;
    const share = shareOf(this.partition.ranks > 1 ? replicate : data);
    const { partition } = this;
    return ownPieces(name, slot, { partition, rank: this.#rank, share, slices, dtype: MASTER_DTYPE });
  }

  /** The dtype in which a parameter is kept from step to step. */
  dtypeOf(slot: LogicalParameter): DType {
    return slot.trainable ? MASTER_DTYPE : this.parameters.frozenValues.dtype;
  }

  /**
   * Writes what this rank has of a parameter; of memory that is kept whole, all of it.
   *
   * @param whole fills any part of the whole parameter; it is asked for little more than what this rank has
   */
  fill(
    { name }: LogicalParameter,
    whole: ParameterSource,
    slices: readonly FlatSlice[] = this.weights,
  ): void {
    const slot = this.#own(name);
    if (slot === undefined) return;
    const source = slot.division === undefined ? whole : partOf(whole, slot.division, slot.shape);
    noGrad(() =>
      scope(() => {
        const areWeights = slices === this.weights;
        const isKept = areWeights && this.parameters.values.elements > 0;
        if (!slot.trainable || isKept) {
          source(this.parameters.owner(slot.name).value.view([-1]), 0);
          if (!slot.trainable || !this.hasMasters) return;
        }
        for (const { rank, range, sliceOffset, offset, elements } of piecesOf(this.partition, slot)) {
          if (rank !== this.#rank) continue;
          const place = { start: sliceOffset, end: sliceOffset + elements };
          fillSlice(sliceIn(slices, range), place, (target, from) => source(target, offset + from));
          if (!areWeights || isKept || this.stores?.masters?.[range] === undefined) continue;
          const copy = this.stores.parameters[range] ?? sliceIn(this.owned.values, range);
          fillSlice(copy, place, (target, from) => source(target, offset + from));
        }
      }),
    );
  }

  /** As `fill`, from the whole parameter. */
  write(slot: LogicalParameter, value: Tensor): void {
    scope(() => {
      const flat = noGrad(() => value.contiguous().view([-1]));
      this.fill(slot, (target, offset) => void target.copy_(flat.narrow(0, offset, target.elements)));
    });
  }

  /** Whether this rank has all weights, so that it can use them without the others. */
  get isWhole(): boolean {
    return (
      this.partition.ranks === 1 &&
      this.parameters.values.elements === this.parameters.layout.trainableElements &&
      this.ownSlots.every(({ division }) => division === undefined)
    );
  }

  /** Where blocks compute on copies of weights that are all here, makes these what the weights are now. */
  refreshCopies(): void {
    const [masters] = this.owned.values;
    if (this.hasMasters && this.isWhole && masters && this.stores === undefined) {
      noGrad(() => this.parameters.values.copy_(masters));
    }
  }

  /** Frees all memory. */
  dispose(): void {
    for (const slice of this.#slices) slice.dispose();
    this.#secondary?.dispose();
    this.parameters.dispose();
    this.stores?.close();
  }

  /** The place of this rank among those that slices belong to. */
  get #rank(): number {
    return this.partition.ranks === 1 ? 0 : this.#axes.shard.rank;
  }
}

function sliceIn<Slice extends FlatSlice>(slices: readonly Slice[], range: number): Slice {
  const slice = slices[range];
  invariant(slice, `range ${range} has no slice`);
  return slice;
}

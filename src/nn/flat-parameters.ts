import { invariant, TrainyardError } from '../base/errors.js';
import { noGrad } from '../tensor/autograd.js';
import type { Device, DType } from '../tensor/dtype.js';
import { allocateMemory_, freeReleasedMemory, releaseMemory_, zeros } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import type { BlockParameters } from './block.js';
import { type FlatLayout, type FlatSlot, TALLY_ELEMENTS } from './flat-layout.js';
import type { Parameter } from './parameter.js';

export interface FlatParametersOptions {
  readonly dtype: DType;
  /** What gradients add up in; left out: the parameters' dtype. */
  readonly gradientDtype?: DType;
  readonly device: Device;
  /** Where memory comes from that ranks exchange; left out: from libtorch. */
  readonly allocate?: (elements: number, dtype: DType) => Tensor;
  /** Whether gradients are wanted; evaluation and generation do without. */
  readonly gradients: boolean;
  /**
   * What has memory of its own for each block, which comes and goes, in place of one buffer. Nothing is there
   * at first.
   */
  readonly byBlock?: { readonly values: boolean; readonly gradients: boolean };
  /** Where frozen parameters lie, with their values. Left out: in memory of this process alone. */
  readonly frozen?: FrozenMemory;
}

/** Memory of frozen parameters that is not this process's alone. */
export interface FrozenMemory {
  /** [frozen elements] of the layout; what is `apart` is not there. */
  readonly buffer: Tensor;
  /** Tensors of parameters by their names, none of them one that is joined with others. */
  readonly apart: ReadonlyMap<string, Tensor>;
}

/** One block's part of the trainable values and of the gradients, padding included. */
export interface BlockMemory {
  readonly values: Tensor;
  readonly gradients?: Tensor;
}

/** The gradient buffer and its two parts. */
export interface GradientMemory {
  /** [trainable elements + 3]; only the tally where blocks have gradients of their own. */
  readonly buffer: Tensor;
  /** [trainable elements], or none: laid out like the trainable values. */
  readonly values: Tensor;
  /** [3]: sum of scaled losses, number of target tokens, votes to stop. */
  readonly tally: Tensor;
}

/**
 * The memory of a model's parameters: one buffer of trainable values, one of frozen ones, and one of
 * gradients that is laid out like the trainable values and ends in the tally. Parameters are views, so that
 * reductions, norms and optimizer updates each work on contiguous memory and copy nothing.
 *
 * Everything starts as zero. Whoever fills the values does so in place and under `noGrad`.
 */
export class FlatParameters {
  /** [trainable elements]; empty where blocks have values of their own. */
  readonly values: Tensor;
  /** [frozen elements] */
  readonly frozenValues: Tensor;
  /** Absent where no gradients are wanted. */
  readonly gradients: GradientMemory | undefined;
  /** One per owner of memory, in the order of blocks and declarations. */
  readonly parameters: readonly Parameter[];
  /** One per block: its parameters under the names of its declarations. */
  readonly blocks: readonly BlockParameters[];
  readonly #memory: readonly BlockMemory[];
  /** Flat tensors without memory under them. */
  readonly #released = new Set<Tensor>();
  readonly #apart: ReadonlyMap<string, Tensor>;
  readonly #byName: ReadonlyMap<string, Parameter>;
  readonly #joined = new Map<string, Parameter>();

  constructor(
    readonly layout: FlatLayout,
    options: FlatParametersOptions,
  ) {
    const { dtype, device, gradients, byBlock = { values: false, gradients: false }, frozen } = options;
    const { gradientDtype = dtype } = options;
    const { allocate: allocateFlat = (elements, of) => zeros([elements], { dtype: of, device }) } = options;
    const allocate = (elements: number, of = dtype): Tensor => keep(allocateFlat(elements, of));
    this.values = allocate(byBlock.values ? 0 : layout.trainableElements);
    this.frozenValues = frozen?.buffer ?? allocate(layout.frozenElements);
    this.#apart = frozen?.apart ?? new Map();
    this.gradients = gradients
      ? gradientMemory(
          allocate((byBlock.gradients ? 0 : layout.trainableElements) + TALLY_ELEMENTS, gradientDtype),
        )
      : undefined;
    this.#memory = layout.ranges.map(({ start, end }) => {
      const part = (whole: Tensor, isOwn: boolean): Tensor =>
        isOwn
          ? this.#release(allocate(end - start, whole.dtype), false)
          : viewOf(whole, { offset: start, elements: end - start, shape: [end - start] });
      return {
        values: part(this.values, byBlock.values),
        ...(this.gradients && { gradients: part(this.gradients.values, byBlock.gradients) }),
      };
    });
    const owners = layout.blocks.flat().filter((slot) => slot.owner === slot.name);
    this.parameters = owners.map((slot) => this.#parameterAt(slot.name, slot));
    this.#byName = new Map(this.parameters.map((parameter) => [parameter.name, parameter]));
    this.blocks = layout.blocks.map((slots) => this.#blockParameters(slots));
  }

  /** The parameter that owns the memory of this one (full names; itself, unless it is tied). */
  owner(name: string): Parameter {
    const parameter = this.#byName.get(name);
    invariant(parameter, `there is no parameter "${name}" with memory of its own`);
    return parameter;
  }

  /** The block's part of the flat memory. Where blocks have their own it may be released: of no length in bytes. */
  memoryOf(block: number): BlockMemory {
    const memory = this.#memory[block];
    invariant(memory, `there is no block ${block}`);
    return memory;
  }

  /** Gives a block's own values memory again, with whatever happens to be in it. */
  allocateValues(block: number): Tensor {
    return this.#allocate(this.memoryOf(block).values);
  }

  releaseValues(block: number): void {
    this.#release(this.memoryOf(block).values);
  }

  /** As `allocateValues`. */
  allocateGradients(block: number): Tensor {
    const { gradients } = this.memoryOf(block);
    invariant(gradients, `no gradients of block ${block} are wanted`);
    return this.#allocate(gradients);
  }

  releaseGradients(block: number): void {
    const { gradients } = this.memoryOf(block);
    if (gradients !== undefined) this.#release(gradients);
  }

  /** Frees all memory. */
  dispose(): void {
    for (const { values, gradients } of this.#memory) {
      values.dispose();
      gradients?.dispose();
    }
    for (const parameter of [...this.parameters, ...this.#joined.values()]) {
      parameter.value.dispose();
      parameter.gradient?.dispose();
    }
    const { buffer, values, tally } = this.gradients ?? {};
    for (const tensor of [this.values, this.frozenValues, buffer, values, tally]) tensor?.dispose();
    freeReleasedMemory();
  }

  #blockParameters(slots: readonly FlatSlot[]): BlockParameters {
    const byLocalName = new Map(slots.map((slot) => [slot.localName, slot]));
    const slotOf = (name: string): FlatSlot => {
      const slot = byLocalName.get(name);
      invariant(slot, `a block asked for the parameter "${name}", which it does not declare`);
      return slot;
    };
    return {
      get: (name) => this.owner(this.#present(slotOf(name)).owner),
      joined: (names) => this.#join(names.map((name) => this.#present(slotOf(name)))),
    };
  }

  /** The block that has the slot's memory. */
  #blockOf({ offset }: Pick<FlatSlot, 'offset'>): number {
    const index = this.layout.ranges.findIndex(({ end }) => offset < end);
    return index === -1 ? this.layout.ranges.length - 1 : index;
  }

  /** @throws TrainyardError PARAMETER_RELEASED */
  #present(slot: FlatSlot): FlatSlot {
    if (!slot.trainable || !this.#released.has(this.memoryOf(this.#blockOf(slot)).values)) return slot;
    throw new TrainyardError('PARAMETER_RELEASED', {
      what: 'A sharded parameter was used while this rank has only its own slice of it.',
      where: slot.name,
      cure: `read or write it inside engine.gathered(['${slot.owner}'], …)`,
    });
  }

  #join(slots: readonly FlatSlot[]): Parameter {
    const name = slots.map((slot) => slot.name).join(' + ');
    const known = this.#joined.get(name);
    if (known !== undefined) return known;
    invariant(
      !slots.some((slot) => this.#apart.has(slot.owner)),
      `${name} cannot be one matrix: a part lies apart`,
    );
    const joined = this.#parameterAt(name, joinSlots(slots, name));
    this.#joined.set(name, joined);
    return joined;
  }

  /** A leaf of autograd over the slot's values, whose `.grad` is the view of its gradients. */
  #parameterAt(name: string, slot: Place): Parameter {
    const division = slot.division && { division: slot.division };
    if (!slot.trainable) {
      return { name, value: this.#apart.get(name) ?? viewOf(this.frozenValues, slot), ...division };
    }
    const block = this.#blockOf(slot);
    const place = { ...slot, offset: slot.offset - (this.layout.ranges[block]?.start ?? 0) };
    const memory = this.memoryOf(block);
    const value = viewOf(memory.values, place);
    if (memory.gradients === undefined) return { name, value, ...division };
    const gradient = viewOf(memory.gradients, place);
    value.requiresGrad = true;
    value.grad = gradient;
    return { name, value, gradient, ...division };
  }

  #allocate(flat: Tensor): Tensor {
    invariant(this.#released.delete(flat), 'a block got memory that it has already');
    noGrad(() => allocateMemory_(flat));
    return flat;
  }

  /** @param reuse keep the memory for what is allocated next */
  #release(flat: Tensor, reuse = true): Tensor {
    this.#released.add(flat);
    noGrad(() => releaseMemory_(flat, reuse));
    return flat;
  }
}

type Place = Pick<FlatSlot, 'trainable' | 'offset' | 'elements' | 'shape' | 'division'>;

/** One place for parameters that lie end to end, concatenated along dimension 0. */
function joinSlots(slots: readonly FlatSlot[], name: string): Place {
  const [first] = slots;
  invariant(first, 'no parameters to join');
  let end = first.offset;
  for (const slot of slots) {
    const fits = slot.shape.slice(1).join() === first.shape.slice(1).join();
    const follows = slot.offset === end && slot.trainable === first.trainable;
    invariant(fits && follows, `${name} cannot be one matrix: "${slot.name}" does not continue it`);
    end += slot.elements;
  }
  const rows = slots.reduce((sum, slot) => sum + (slot.shape[0] ?? 0), 0);
  return { ...first, elements: end - first.offset, shape: [rows, ...first.shape.slice(1)] };
}

function gradientMemory(buffer: Tensor): GradientMemory {
  const elements = buffer.elements - TALLY_ELEMENTS;
  return {
    buffer,
    values: viewOf(buffer, { offset: 0, elements, shape: [elements] }),
    tally: viewOf(buffer, { offset: elements, elements: TALLY_ELEMENTS, shape: [TALLY_ELEMENTS] }),
  };
}

function viewOf(buffer: Tensor, { offset, elements, shape }: Omit<Place, 'trainable' | 'division'>): Tensor {
  return keep(noGrad(() => scope(() => buffer.narrow(0, offset, elements).view(shape))));
}

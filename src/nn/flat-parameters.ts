import { invariant } from '../base/errors.js';
import { noGrad } from '../tensor/autograd.js';
import type { Device, DType } from '../tensor/dtype.js';
import { zeros } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import type { BlockParameters } from './block.js';
import { type FlatLayout, type FlatSlot, TALLY_ELEMENTS } from './flat-layout.js';
import type { Parameter } from './parameter.js';

export interface FlatParametersOptions {
  readonly dtype: DType;
  readonly device: Device;
  /** Whether gradients are wanted; evaluation and generation do without. */
  readonly gradients: boolean;
}

/** The gradient buffer and its two parts. */
export interface GradientMemory {
  /** [trainable elements + 3] */
  readonly buffer: Tensor;
  /** [trainable elements]: laid out like the trainable values. */
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
  /** [trainable elements] */
  readonly values: Tensor;
  /** [frozen elements] */
  readonly frozenValues: Tensor;
  /** Absent where no gradients are wanted. */
  readonly gradients: GradientMemory | undefined;
  /** One per owner of memory, in the order of blocks and declarations. */
  readonly parameters: readonly Parameter[];
  /** One per block: its parameters under the names of its declarations. */
  readonly blocks: readonly BlockParameters[];
  readonly #byName: ReadonlyMap<string, Parameter>;
  readonly #joined = new Map<string, Parameter>();

  constructor(
    readonly layout: FlatLayout,
    { dtype, device, gradients }: FlatParametersOptions,
  ) {
    const allocate = (elements: number) => keep(zeros([elements], { dtype, device }));
    this.values = allocate(layout.trainableElements);
    this.frozenValues = allocate(layout.frozenElements);
    this.gradients = gradients
      ? gradientMemory(allocate(layout.trainableElements + TALLY_ELEMENTS), layout.trainableElements)
      : undefined;
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

  /** Frees all memory. */
  dispose(): void {
    for (const parameter of [...this.parameters, ...this.#joined.values()]) {
      parameter.value.dispose();
      parameter.gradient?.dispose();
    }
    const { buffer, values, tally } = this.gradients ?? {};
    for (const tensor of [this.values, this.frozenValues, buffer, values, tally]) tensor?.dispose();
  }

  #blockParameters(slots: readonly FlatSlot[]): BlockParameters {
    const byLocalName = new Map(slots.map((slot) => [slot.localName, slot]));
    const slotOf = (name: string): FlatSlot => {
      const slot = byLocalName.get(name);
      invariant(slot, `a block asked for the parameter "${name}", which it does not declare`);
      return slot;
    };
    return {
      get: (name) => this.owner(slotOf(name).owner),
      joined: (names) => this.#join(names.map(slotOf)),
    };
  }

  #join(slots: readonly FlatSlot[]): Parameter {
    const name = slots.map((slot) => slot.name).join(' + ');
    const known = this.#joined.get(name);
    if (known !== undefined) return known;
    const joined = this.#parameterAt(name, joinSlots(slots, name));
    this.#joined.set(name, joined);
    return joined;
  }

  /** A leaf of autograd over the slot's values, whose `.grad` is the view of its gradients. */
  #parameterAt(name: string, slot: Place): Parameter {
    const value = viewOf(slot.trainable ? this.values : this.frozenValues, slot);
    if (!slot.trainable || this.gradients === undefined) return { name, value };
    const gradient = viewOf(this.gradients.values, slot);
    value.requiresGrad = true;
    value.grad = gradient;
    return { name, value, gradient };
  }
}

type Place = Pick<FlatSlot, 'trainable' | 'offset' | 'elements' | 'shape'>;

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

function gradientMemory(buffer: Tensor, elements: number): GradientMemory {
  return {
    buffer,
    values: viewOf(buffer, { offset: 0, elements, shape: [elements] }),
    tally: viewOf(buffer, { offset: elements, elements: TALLY_ELEMENTS, shape: [TALLY_ELEMENTS] }),
  };
}

function viewOf(buffer: Tensor, { offset, elements, shape }: Omit<Place, 'trainable'>): Tensor {
  return keep(noGrad(() => scope(() => buffer.narrow(0, offset, elements).view(shape))));
}

import { invariant } from '../base/errors.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, type Tensor } from '../tensor/tensor.js';

interface Memory {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/**
 * Keys and values of the positions that a model has already read, so that each further token costs one
 * position and not all of them. A forward pass, without recording for backward, extends every layer; then the
 * caller advances the length.
 */
export class KeyValueCache {
  readonly #layers = new Map<string, Memory>();
  #length = 0;

  /** @param capacity the most positions it will hold; memory for them is taken at the first use */
  constructor(readonly capacity: number) {}

  /** How many positions have been read before the present forward pass. */
  get length(): number {
    return this.#length;
  }

  /**
   * Adds a layer's keys and values of the present positions, and returns those of all positions so far.
   *
   * @param keys [rows, length, heads, headSize]
   * @param values the same
   * @returns [rows, positions so far, heads, headSize], twice
   */
  extend(layer: string, keys: Tensor, values: Tensor): readonly [Tensor, Tensor] {
    const added = keys.shape[1] ?? 0;
    const end = this.#length + added;
    invariant(end <= this.capacity, `a key-value cache of ${this.capacity} positions was given ${end}`);
    const memory = this.#layers.get(layer) ?? this.#allocate(layer, keys);
    memory.keys.narrow(1, this.#length, added).copy_(keys);
    memory.values.narrow(1, this.#length, added).copy_(values);
    return [memory.keys.narrow(1, 0, end), memory.values.narrow(1, 0, end)];
  }

  /** Counts positions as read, once every layer has been extended by them. */
  advance(positions: number): void {
    this.#length += positions;
  }

  /** Forgets all positions. */
  clear(): void {
    this.#length = 0;
  }

  /** Frees the memory. */
  dispose(): void {
    for (const { keys, values } of this.#layers.values()) {
      keys.dispose();
      values.dispose();
    }
    this.#layers.clear();
  }

  #allocate(layer: string, like: Tensor): Memory {
    const shape = like.shape.map((size, dimension) => (dimension === 1 ? this.capacity : size));
    const options = { dtype: like.dtype, device: like.device };
    const memory = { keys: keep(empty(shape, options)), values: keep(empty(shape, options)) };
    this.#layers.set(layer, memory);
    return memory;
  }
}

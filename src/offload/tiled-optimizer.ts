import { invariant } from '../base/errors.js';
import type { OptimizerConfig } from '../optim/config.js';
import { createUpdateRule, type OptimizerUpdate, type UpdateRule } from '../optim/optimizer.js';
import type { TrainingOptimizer } from '../optim/optimizer-group.js';
import { alignedZeros } from '../tensor/aligned-buffers.js';
import { noGrad } from '../tensor/autograd.js';
import { type Device, DTYPES, type DType } from '../tensor/dtype.js';
import { type FlatSlice, isStored, type Transfer } from '../tensor/flat-store.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, scope, Tensor } from '../tensor/tensor.js';
import { sliceStore } from './tier/host-tier.js';
import { runTiles, type TilePipelineOptions, type TileWork } from './tile-pipeline.js';

/** One of the slices that a rank updates: flat slices of equal length, wherever each of them lies. */
export interface TiledPiece {
  /** fp32. */
  readonly weights: FlatSlice;
  /** fp32. */
  readonly gradients: FlatSlice;
  /** In the order of the rule's names, fp32. */
  readonly states: readonly FlatSlice[];
  /** What blocks compute with, in 16 bits, where that is apart from the weights: written with them. */
  readonly copy?: FlatSlice;
}

export interface TiledOptimizerOptions extends TilePipelineOptions {
  /** The most elements of a tile. */
  readonly elements: number;
  /** Where the update is computed. */
  readonly device: Device;
  /** Whether buffers on the host are on locked pages. */
  readonly isPinned: boolean;
}

/**
 * One update rule over slices of which not all are in memory (ZeRO-Infinity, arXiv 2104.07857, section 5.2.2; DeepSpeed:
 * runtime/swap_tensor/pipelined_optimizer_swapper.py). They pass through memory tile by tile: while one is updated
 * the next is read and the one before is written. What is in memory is updated where it is. Every element is computed as
 * it is without tiles, to the last bit.
 */
export class TiledOptimizer implements TrainingOptimizer {
  readonly states: ReadonlyMap<string, readonly FlatSlice[]>;
  readonly #rule: UpdateRule;
  readonly #pieces: readonly TiledPiece[];
  readonly #options: TiledOptimizerOptions;
  readonly #buffers: TileBuffers;

  constructor(config: OptimizerConfig, pieces: readonly TiledPiece[], options: TiledOptimizerOptions) {
    this.#rule = createUpdateRule(config);
    this.#pieces = pieces;
    this.#options = options;
    this.#buffers = new TileBuffers(options);
    this.states = new Map(
      this.#rule.stateNames.map((name, index) => [name, pieces.flatMap(({ states }) => states[index] ?? [])]),
    );
  }

  get bytes(): number {
    const slices = [...this.states.values()].flat();
    return slices.reduce((sum, { elements, dtype }) => sum + elements * DTYPES[dtype].bytes, 0);
  }

  step(update: OptimizerUpdate): void {
    const { elements } = this.#options;
    const tiles = this.#pieces.flatMap((piece) => {
      const { elements: length } = piece.weights;
      return Array.from({ length: Math.ceil(length / elements) }, (_, index) => {
        const start = index * elements;
        return this.#tile(piece, start, Math.min(elements, length - start), update);
      });
    });
    scope(() => runTiles(tiles, this.#options));
  }

  /** Frees what lies in memory: the buffers, and states that are not in a tier. */
  dispose(): void {
    this.#buffers.dispose();
    for (const slice of [...this.states.values()].flat()) if (!isStored(slice)) slice.dispose();
  }

  #tile(piece: TiledPiece, start: number, length: number, update: OptimizerUpdate): TileWork {
    const states = piece.states.map((slice, index) => this.#part(slice, `state ${index}`, start, length));
    const weights = this.#part(piece.weights, 'weights', start, length);
    const gradients = this.#part(piece.gradients, 'gradients', start, length);
    const copy = piece.copy && this.#part(piece.copy, 'copy', start, length);
    const changed = [weights, ...states];
    return {
      read: (slot) => [...changed, gradients].flatMap((part) => part.read(slot)),
      update: (slot) =>
        noGrad(() =>
          scope(() => {
            const memory = {
              parameters: weights.memory(slot),
              gradients: gradients.memory(slot),
              states: states.map((part) => part.memory(slot)),
              ...(copy && { copy: copy.memory(slot) }),
            };
            this.#rule.update(update, [memory]);
          }),
        ),
      write: (slot) => [...changed, ...(copy ? [copy] : [])].flatMap((part) => part.write(slot)),
    };
  }

  /** Elements of a slice, in place or by way of the buffer that a slot has for slices of this kind. */
  #part(slice: FlatSlice, kind: string, start: number, length: number): TilePart {
    const store = slice instanceof Tensor ? sliceStore(slice) : slice;
    const resident = slice instanceof Tensor ? slice : slice.memory;
    if (resident?.device === this.#options.device) {
      return { read: () => [], memory: () => resident.narrow(0, start, length), write: () => [] };
    }
    const buffer = (slot: number): Tensor => this.#buffers.of(slot, kind, store.dtype).narrow(0, 0, length);
    return {
      read: (slot) => [store.read(buffer(slot), start)],
      memory: buffer,
      write: (slot) => [store.write(buffer(slot), start)],
    };
  }
}

/** One slice's elements of a tile. */
interface TilePart {
  read(slot: number): readonly Transfer[];
  memory(slot: number): Tensor;
  write(slot: number): readonly Transfer[];
}

/** The memory of the slots, allocated when it is first wanted. */
class TileBuffers {
  readonly #options: TiledOptimizerOptions;
  readonly #buffers = new Map<string, Tensor>();

  constructor(options: TiledOptimizerOptions) {
    this.#options = options;
  }

  of(slot: number, kind: string, dtype: DType): Tensor {
    const key = `${slot} ${kind}`;
    const known = this.#buffers.get(key);
    if (known !== undefined) return known;
    const { elements, device, isPinned, slots } = this.#options;
    invariant(slot < slots, `there is no slot ${slot}`);
    // Files take what begins at a page as it is, and a GPU copies faster from locked pages.
    const buffer = keep(
      device === 'cpu' && !isPinned
        ? alignedZeros([elements], dtype)
        : empty([elements], { dtype, device, pinMemory: isPinned && device === 'cpu' }),
    );
    this.#buffers.set(key, buffer);
    return buffer;
  }

  dispose(): void {
    for (const buffer of this.#buffers.values()) buffer.dispose();
  }
}

import { invariant } from '../base/errors.js';
import type { OptimizerConfig } from '../optim/config.js';
import type { OptimizerUpdate, UpdatePiece, UpdateRule } from '../optim/optimizer/update-rule.js';
import { createUpdateRule } from '../optim/optimizer.js';
import { alignedZeros } from '../tensor/aligned-buffers.js';
import { noGrad } from '../tensor/autograd.js';
import { type Device, DTYPES, type DType } from '../tensor/dtype.js';
import { type FlatSlice, type FlatStore, isStored, type Transfer } from '../tensor/flat-store.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, scope, Tensor } from '../tensor/tensor.js';
import { sliceStore } from './tier/host-tier.js';
import { TilePipeline, type TilePipelineOptions, type TileWork } from './tile-pipeline.js';
import { type PieceEnd, TiledUpdate } from './tiled-update.js';

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
  /** Where the new weights go, where blocks still compute with the old ones; left out: to their place. */
  readonly newWeights?: FlatSlice;
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
 * the next is read and the one before is written. Slices that are in memory altogether are updated where they are, on
 * their own device, while tiles are read (ZeRO-Offload++'s Twin-Flow; DeepSpeed: offload_optimizer.ratio). Every element is
 * computed as it is without tiles, to the last bit.
 */
export class TiledOptimizer {
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

  /** Begins an update that goes on at whatever pace it is taken. */
  begin(update: OptimizerUpdate): TiledUpdate {
    const tiles: TileWork[] = [];
    const beside: (() => void)[] = [];
    const ends = this.#pieces.map((piece): PieceEnd => {
      const memory = memoryOf(piece);
      if (memory === undefined) {
        tiles.push(...this.#cut(piece, (start, length) => this.#tile(piece, start, length, update)));
      } else {
        beside.push(
          ...this.#cut(piece, (start, length) => () => this.#updateInPlace(memory, start, length, update)),
        );
      }
      const used = piece.copy ?? piece.newWeights ?? piece.weights;
      return { tiles: tiles.length, beside: beside.length, isWritten: this.#residentOf(used) === undefined };
    });
    return new TiledUpdate(new TilePipeline(tiles, this.#options, beside), ends);
  }

  #cut<Part>({ weights }: TiledPiece, part: (start: number, length: number) => Part): readonly Part[] {
    const { elements } = this.#options;
    return Array.from({ length: Math.ceil(weights.elements / elements) }, (_, index) => {
      const start = index * elements;
      return part(start, Math.min(elements, weights.elements - start));
    });
  }

  #updateInPlace(memory: UpdatePiece, start: number, length: number, update: OptimizerUpdate): void {
    const part = (slice: Tensor): Tensor => slice.narrow(0, start, length);
    noGrad(() =>
      scope(() => {
        const { parameters, gradients, states } = memory;
        this.#rule.update(update, [
          { parameters: part(parameters), gradients: part(gradients), states: states.map(part) },
        ]);
      }),
    );
  }

  /** Frees what lies in memory: the buffers, and states that are not in a tier. */
  dispose(): void {
    this.#buffers.dispose();
    for (const slice of [...this.states.values()].flat()) if (!isStored(slice)) slice.dispose();
  }

  #tile(piece: TiledPiece, start: number, length: number, update: OptimizerUpdate): TileWork {
    const states = piece.states.map((slice, index) => this.#part(slice, `state ${index}`, start, length));
    const weights =
      piece.newWeights === undefined
        ? this.#part(piece.weights, 'weights', start, length)
        : this.#passage(piece.weights, piece.newWeights, 'weights', start, length);
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
    const resident = this.#residentOf(slice);
    if (resident !== undefined) {
      return { read: () => [], memory: () => resident.narrow(0, start, length), write: () => [] };
    }
    return this.#passage(slice, slice, kind, start, length);
  }

  /** What is updated where it is. */
  #residentOf(slice: FlatSlice): Tensor | undefined {
    const memory = slice instanceof Tensor ? slice : slice.memory;
    return memory?.device === this.#options.device ? memory : undefined;
  }

  /** Elements that come from one slice, change in the buffer of a slot, and go to the same slice or another. */
  #passage(from: FlatSlice, to: FlatSlice, kind: string, start: number, length: number): TilePart {
    const buffer = (slot: number): Tensor => this.#buffers.of(slot, kind, from.dtype).narrow(0, 0, length);
    return {
      read: (slot) => [holding(buffer(slot), (target) => storeOf(from).read(target, start))],
      memory: buffer,
      write: (slot) => [holding(buffer(slot), (source) => storeOf(to).write(source, start))],
    };
  }
}

/** What an update of a piece needs, if all of it is in memory and stays where it is; what masters are apart from is not. */
function memoryOf({ weights, gradients, states, copy, newWeights }: TiledPiece): UpdatePiece | undefined {
  const inMemory = states.filter((slice) => slice instanceof Tensor);
  if (copy !== undefined || newWeights !== undefined || inMemory.length < states.length) return undefined;
  if (!(weights instanceof Tensor && gradients instanceof Tensor)) return undefined;
  return { parameters: weights, gradients, states: inMemory };
}

function storeOf(slice: FlatSlice): FlatStore {
  return slice instanceof Tensor ? sliceStore(slice) : slice;
}

/** A transfer whose tensor lives until it is done, whatever scope it was made in. */
function holding(tensor: Tensor, start: (tensor: Tensor) => Transfer): Transfer {
  const held = keep(tensor);
  const transfer = start(held);
  return {
    wait: () => {
      if (held.isFreed) return;
      try {
        transfer.wait();
      } finally {
        held.dispose();
      }
    },
  };
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

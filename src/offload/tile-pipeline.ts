import type { Transfer } from '../tensor/flat-store.js';

/** What is done with one tile. */
export interface TileWork {
  /** Starts to bring it into the memory of a slot. */
  read(slot: number): readonly Transfer[];
  /** Works on it there. */
  update(slot: number): void;
  /** Starts to bring it back from there. */
  write(slot: number): readonly Transfer[];
}

/** How far reading and writing may be from the update. */
export interface TilePipelineOptions {
  /** Slots, each of which has memory for one tile. */
  readonly slots: number;
  /** Whether the next tiles are read while one is updated (DeepSpeed: pipeline_read). */
  readonly readsAhead: boolean;
  /** Whether tiles are written while the next are updated (DeepSpeed: pipeline_write). */
  readonly writesBehind: boolean;
}

/**
 * Takes tiles through memory in their order: with three slots tile i + 1 is read, i updated and i − 1 written at once.
 * Tile i is always in slot i modulo their number. When it returns everything is written.
 *
 * @throws TrainyardError of the first transfer that failed, when no other is on its way any more
 */
export function runTiles(tiles: readonly TileWork[], options: TilePipelineOptions): void {
  const pipeline = new Pipeline(tiles, options);
  try {
    for (const index of tiles.keys()) pipeline.turn(index);
  } finally {
    pipeline.settle();
  }
}

class Pipeline {
  readonly #tiles: readonly TileWork[];
  readonly #options: TilePipelineOptions;
  /** By slot. */
  readonly #reads = new Map<number, readonly Transfer[]>();
  readonly #writes = new Map<number, readonly Transfer[]>();
  #nextRead = 0;

  constructor(tiles: readonly TileWork[], options: TilePipelineOptions) {
    this.#tiles = tiles;
    this.#options = options;
  }

  turn(index: number): void {
    const { slots, readsAhead, writesBehind } = this.#options;
    const slot = index % slots;
    // One slot is the tile's own; of three or more, one stays with the tile that is being written.
    const ahead = readsAhead ? Math.min(slots - 1, Math.max(1, slots - 2)) : 0;
    this.#readUpTo(index + ahead);
    this.#finish(this.#reads, slot);
    this.#tiles[index]?.update(slot);
    this.#writes.set(slot, this.#tiles[index]?.write(slot) ?? []);
    if (!writesBehind) this.#finish(this.#writes, slot);
  }

  #readUpTo(last: number): void {
    for (; this.#nextRead <= last && this.#nextRead < this.#tiles.length; this.#nextRead += 1) {
      const slot = this.#nextRead % this.#options.slots;
      this.#finish(this.#writes, slot);
      this.#reads.set(slot, this.#tiles[this.#nextRead]?.read(slot) ?? []);
    }
  }

  #finish(transfers: Map<number, readonly Transfer[]>, slot: number): void {
    for (const transfer of transfers.get(slot) ?? []) transfer.wait();
    transfers.delete(slot);
  }

  /** Waits for all that is on its way, so that nothing touches the slots' memory any more. */
  settle(): void {
    const errors: unknown[] = [];
    for (const transfer of [...this.#reads.values(), ...this.#writes.values()].flat()) {
      try {
        transfer.wait();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}

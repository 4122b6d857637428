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
 * Takes tiles through memory in their order, and at any pace: with three slots tile i + 1 is read, i updated and i − 1
 * written at once. Tile i is always in slot i modulo their number. What needs no tile is done between them, while the
 * next is read.
 */
export class TilePipeline {
  readonly #tiles: readonly TileWork[];
  /** Work on what is in memory, spread evenly over the tiles. */
  readonly #beside: readonly (() => void)[];
  readonly #options: TilePipelineOptions;
  /** By slot. */
  readonly #reads = new Map<number, readonly Transfer[]>();
  readonly #writes = new Map<number, readonly Transfer[]>();
  #nextRead = 0;
  #nextTile = 0;
  #nextBeside = 0;

  /** Starts to read the first tiles, where that may be done ahead. */
  constructor(
    tiles: readonly TileWork[],
    options: TilePipelineOptions,
    beside: readonly (() => void)[] = [],
  ) {
    this.#tiles = tiles;
    this.#beside = beside;
    this.#options = options;
    this.#guarded(() => this.#readUpTo(this.#ahead - 1));
  }

  /**
   * Goes on until this share of all is done, from 0 to 1. Of 1 everything is written when it returns; of less, what has
   * been started goes on.
   *
   * @throws TrainyardError of the first transfer that failed, when no other is on its way any more
   */
  advance(share: number): void {
    this.#guarded(() => {
      const end = Math.floor(share * this.#tiles.length);
      while (this.#nextTile < end) this.#turn(this.#nextTile);
      this.#workBeside(share);
    });
    if (share === 1) this.settle();
  }

  /** Waits for all that is on its way, so that nothing touches the slots' memory any more. */
  settle(): void {
    const transfers = [...this.#reads.values(), ...this.#writes.values()].flat();
    this.#reads.clear();
    this.#writes.clear();
    const errors: unknown[] = [];
    for (const transfer of transfers) {
      try {
        transfer.wait();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  #guarded(body: () => void): void {
    try {
      body();
    } catch (error) {
      this.#settleQuietly();
      throw error;
    }
  }

  /** After an error, which is the one to be told of. */
  #settleQuietly(): void {
    try {
      this.settle();
    } catch {
      // It came of the same disk.
    }
  }

  #turn(index: number): void {
    const { slots, writesBehind } = this.#options;
    const slot = index % slots;
    this.#readUpTo(index + this.#ahead);
    this.#workBeside((index + 1) / this.#tiles.length);
    this.#finish(this.#reads, slot);
    this.#tiles[index]?.update(slot);
    this.#writes.set(slot, this.#tiles[index]?.write(slot) ?? []);
    if (!writesBehind) this.#finish(this.#writes, slot);
    this.#nextTile = index + 1;
  }

  /** One slot is the tile's own; of three or more, one stays with the tile that is being written. */
  get #ahead(): number {
    const { slots, readsAhead } = this.#options;
    return readsAhead ? Math.min(slots - 1, Math.max(1, slots - 2)) : 0;
  }

  #workBeside(share: number): void {
    const end = Math.floor(share * this.#beside.length);
    for (; this.#nextBeside < end; this.#nextBeside += 1) this.#beside[this.#nextBeside]?.();
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
}

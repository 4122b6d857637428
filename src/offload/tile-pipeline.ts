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

/** How many tiles are done, and how much of the work beside them. */
export interface Progress {
  readonly tiles: number;
  readonly beside: number;
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
  /** By tile. */
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
    this.advanceTo({
      tiles: Math.floor(share * this.#tiles.length),
      beside: Math.floor(share * this.#beside.length),
    });
    if (share === 1) this.settle();
  }

  /**
   * Goes on until so many are done, at least.
   *
   * @returns when these tiles are written
   * @throws TrainyardError as `advance`
   */
  advanceTo({ tiles, beside }: Progress): Transfer {
    this.#guarded(() => {
      while (this.#nextTile < tiles) this.#turn(this.#nextTile);
      this.#workBesideTo(beside);
    });
    return { wait: () => this.#guarded(() => this.#finishWrites(tiles)) };
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
    this.#workBesideTo(Math.floor(((index + 1) / this.#tiles.length) * this.#beside.length));
    this.#finish(this.#reads, index);
    this.#tiles[index]?.update(slot);
    this.#writes.set(index, this.#tiles[index]?.write(slot) ?? []);
    if (!writesBehind) this.#finish(this.#writes, index);
    this.#nextTile = index + 1;
  }

  /** As many tiles are read ahead as may be on their way back: whatever comes between two tiles, the disk has both to do. */
  get #ahead(): number {
    const { slots, readsAhead, writesBehind } = this.#options;
    if (!readsAhead) return 0;
    return writesBehind ? Math.floor(slots / 2) : slots - 1;
  }

  #workBesideTo(end: number): void {
    for (; this.#nextBeside < end; this.#nextBeside += 1) this.#beside[this.#nextBeside]?.();
  }

  #readUpTo(last: number): void {
    const { slots } = this.#options;
    for (; this.#nextRead <= last && this.#nextRead < this.#tiles.length; this.#nextRead += 1) {
      this.#finish(this.#writes, this.#nextRead - slots);
      this.#reads.set(this.#nextRead, this.#tiles[this.#nextRead]?.read(this.#nextRead % slots) ?? []);
    }
  }

  #finishWrites(end: number): void {
    for (const tile of [...this.#writes.keys()]) if (tile < end) this.#finish(this.#writes, tile);
  }

  #finish(transfers: Map<number, readonly Transfer[]>, tile: number): void {
    for (const transfer of transfers.get(tile) ?? []) transfer.wait();
    transfers.delete(tile);
  }
}

import { finishedTransfer, type Transfer } from '../tensor/flat-store.js';
import type { Progress, TilePipeline } from './tile-pipeline.js';

/** Where a piece of the training state ends in an update. */
export interface PieceEnd extends Progress {
  /** Whether its weights are used from where its tiles are written to. */
  readonly isWritten: boolean;
}

/** One update of all pieces, which goes on at whatever pace it is taken. */
export class TiledUpdate {
  readonly #pipeline: TilePipeline;
  readonly #ends: readonly PieceEnd[];

  /** @param ends in the order of pieces */
  constructor(pipeline: TilePipeline, ends: readonly PieceEnd[]) {
    this.#pipeline = pipeline;
    this.#ends = ends;
  }

  /** As `TilePipeline.advance`. */
  advance(share: number): void {
    this.#pipeline.advance(share);
  }

  /**
   * Goes on until a piece and those before it are updated.
   *
   * @returns when its weights can be read
   */
  bringUpTo(piece: number): Transfer {
    const end = this.#ends[piece];
    if (end === undefined) return finishedTransfer;
    const written = this.#pipeline.advanceTo(end);
    return end.isWritten ? written : finishedTransfer;
  }

  /** Waits for all that is on its way. */
  settle(): void {
    this.#pipeline.settle();
  }
}

import type { Transfer } from '../tensor/flat-store.js';

/** The update of a step that is made in the next one. `Optimizer.step` leaves it here. */
export interface PendingUpdate {
  /**
   * Goes on with the update that was left, to the end of this piece of the training state and those before it.
   *
   * @returns when the new weights can be used
   */
  bringUpTo(piece: number): Transfer;
  /**
   * Makes the weights of an update that is through those that blocks compute with, where these computed with the ones from
   * before meanwhile (ZeRO-Offload, arXiv 2101.06840, section 5.2: one-step delayed parameter update).
   */
  adopt(): void;
  /** Goes on with the update that was left, until this share of it is done, from 0 to 1. */
  advance(share: number): void;
  /** Makes all that was left, and adopts it: weights and states are then those after the last step. */
  finish(): void;
  /** Forgets what was left, where weights and states are read from elsewhere. */
  discard(): void;
}

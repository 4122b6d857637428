import { invariant } from '../base/errors.js';
import type { OptimizerUpdate } from '../optim/optimizer/update-rule.js';
import type { TrainingOptimizer } from '../optim/optimizer-group.js';
import type { PendingUpdate } from '../optim/pending-update.js';
import { noGrad } from '../tensor/autograd.js';
import { type FlatSlice, finishedTransfer, type Transfer } from '../tensor/flat-store.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import type { TiledOptimizer } from './tiled-optimizer.js';
import type { TiledUpdate } from './tiled-update.js';
import type { TwinStore } from './twin-store.js';

/** What is apart where blocks compute with the weights from before an update while it is made: changes places between steps. */
export interface DelayedSlices {
  /** Those of the step that runs, and those of the update under it. */
  readonly gradients: readonly TwinStore[];
  /** What blocks compute with, where it lies in a tier, and what the update makes of it. */
  readonly stored: readonly TwinStore[];
  /** The same where it lies in memory; the new ones are this optimizer's to free. */
  readonly resident: readonly { readonly weights: Tensor; readonly newWeights: Tensor }[];
}

/** Where every block is updated before it is used. */
const IN_PLACE: DelayedSlices = { gradients: [], stored: [], resident: [] };

/** An optimizer whose `step` only leaves the update to the next step. */
export class LeavingOptimizer implements TrainingOptimizer {
  readonly pending: PendingUpdate;
  readonly #tiled: TiledOptimizer;
  readonly #slices: DelayedSlices;
  /** What the last step has left. */
  #left: OptimizerUpdate | undefined;
  /** The update that goes on, or is through and not adopted. */
  #underWay: TiledUpdate | undefined;
  /** After it the weights are neither those from before an update nor those from after it. */
  #failure: { readonly error: unknown } | undefined;

  /** @param tiled updates what the gradients' other stores hold, and leaves the weights that blocks compute with alone */
  constructor(tiled: TiledOptimizer, slices: DelayedSlices = IN_PLACE) {
    this.#tiled = tiled;
    this.#slices = slices;
    this.pending = {
      bringUpTo: (piece) => this.#bringUpTo(piece),
      adopt: () => this.#adopt(),
      advance: (share) => {
        this.#begun();
        this.#advance(share);
      },
      finish: () => this.#finish(),
      discard: () => this.#discard(),
    };
  }

  get states(): ReadonlyMap<string, readonly FlatSlice[]> {
    return this.#tiled.states;
  }

  get bytes(): number {
    return this.#tiled.bytes;
  }

  step(update: OptimizerUpdate): void {
    invariant(this.#left === undefined, 'an update is left before the one before it was made');
    this.#left = update;
    for (const twin of this.#slices.gradients) twin.changePlaces();
  }

  dispose(): void {
    try {
      this.#discard();
    } finally {
      this.#tiled.dispose();
      for (const { newWeights } of this.#slices.resident) newWeights.dispose();
    }
  }

  #bringUpTo(piece: number): Transfer {
    return this.#guarded(() => {
      const update = this.#begun();
      const done = update?.bringUpTo(piece) ?? finishedTransfer;
      return { wait: () => this.#guarded(() => done.wait()) };
    });
  }

  /** What a step that failed has not come to is made first. */
  #adopt(): void {
    if (this.#underWay === undefined) return;
    this.#advance(1);
    this.#underWay = undefined;
    for (const twin of this.#slices.stored) twin.changePlaces();
    noGrad(() => {
      for (const { weights, newWeights } of this.#slices.resident) weights.copy_(newWeights);
    });
  }

  #advance(share: number): void {
    this.#guarded(() => this.#underWay?.advance(share));
  }

  /** The update that goes on; begins the one that was left. */
  #begun(): TiledUpdate | undefined {
    if (this.#left === undefined) return this.#underWay;
    this.#adopt();
    this.#underWay = this.#tiled.begin(this.#left);
    this.#left = undefined;
    return this.#underWay;
  }

  #finish(): void {
    noGrad(() =>
      scope(() => {
        this.#begun();
        this.#adopt();
      }),
    );
  }

  /** What has failed half way fails again, whoever would use the weights. */
  #guarded<Result>(body: () => Result): Result {
    if (this.#failure !== undefined) throw this.#failure.error;
    try {
      return body();
    } catch (error) {
      this.#failure = { error };
      throw error;
    }
  }

  #discard(): void {
    this.#underWay?.settle();
    this.#underWay = undefined;
    this.#left = undefined;
    this.#failure = undefined;
  }
}

import { invariant } from '../base/errors.js';
import type { OptimizerUpdate } from '../optim/optimizer/update-rule.js';
import type { TrainingOptimizer } from '../optim/optimizer-group.js';
import type { PendingUpdate } from '../optim/pending-update.js';
import { noGrad } from '../tensor/autograd.js';
import type { FlatSlice } from '../tensor/flat-store.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import type { TilePipeline } from './tile-pipeline.js';
import type { TiledOptimizer } from './tiled-optimizer.js';
import type { TwinStore } from './twin-store.js';

/** What changes places between steps, and what is copied then. */
export interface DelayedSlices {
  /** Those of the step that runs, and those of the update under it. */
  readonly gradients: readonly TwinStore[];
  /** What blocks compute with, where it lies in a tier, and what the update makes of it. */
  readonly stored: readonly TwinStore[];
  /** The same where it lies in memory; the new ones are this optimizer's to free. */
  readonly resident: readonly { readonly weights: Tensor; readonly newWeights: Tensor }[];
}

/**
 * An optimizer whose `step` only leaves the update to the next step, which makes it while it computes with the weights from
 * before it (ZeRO-Offload, arXiv 2101.06840, section 5.2).
 */
export class DelayedOptimizer implements TrainingOptimizer {
  readonly pending: PendingUpdate;
  readonly #tiled: TiledOptimizer;
  readonly #slices: DelayedSlices;
  /** What the last step has left. */
  #left: OptimizerUpdate | undefined;
  /** The update that goes on, or is through and not adopted. */
  #underWay: TilePipeline | undefined;

  /** @param tiled updates what the gradients' other stores hold, and leaves the weights that blocks compute with alone */
  constructor(tiled: TiledOptimizer, slices: DelayedSlices) {
    this.#tiled = tiled;
    this.#slices = slices;
    this.pending = {
      adopt: () => this.#adopt(),
      advance: (share) => this.#advance(share),
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

  #adopt(): void {
    if (this.#underWay === undefined) return;
    this.#underWay = undefined;
    for (const twin of this.#slices.stored) twin.changePlaces();
    noGrad(() => {
      for (const { weights, newWeights } of this.#slices.resident) weights.copy_(newWeights);
    });
  }

  #advance(share: number): void {
    if (this.#left !== undefined) {
      invariant(this.#underWay === undefined, 'an update begins before the one before it is adopted');
      this.#underWay = this.#tiled.begin(this.#left);
      this.#left = undefined;
    }
    this.#underWay?.advance(share);
  }

  #finish(): void {
    noGrad(() =>
      scope(() => {
        this.#adopt();
        this.#advance(1);
        this.#adopt();
      }),
    );
  }

  #discard(): void {
    this.#underWay?.settle();
    this.#underWay = undefined;
    this.#left = undefined;
  }
}

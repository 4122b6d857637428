import { TrainyardError } from '../base/errors.js';
import type { LossScaling } from '../precision/config.js';
import {
  initialLossScale,
  type LossScalerState,
  lossScalerStateSchema,
  nextLossScale,
  type OverflowAnswer,
  overflowAnswer,
} from '../precision/loss-scaler.js';
import type { LoadedCheckpoint } from '../store/checkpoint.js';

/** What a checkpoint keeps of it beside the number of steps. */
const SKIPPED_STEPS = 'skipped_steps';
const LOSS_SCALER = 'loss_scaler';

/** How far a run has come: what the next step is counted and scaled by. */
export class TrainingProgress {
  readonly #scaling: LossScaling;
  #steps = 0;
  #skippedSteps = 0;
  #lossScale: LossScalerState;

  constructor(scaling: LossScaling) {
    this.#scaling = scaling;
    this.#lossScale = initialLossScale(scaling);
  }

  /** Optimizer steps done, those that were skipped included. */
  get steps(): number {
    return this.#steps;
  }

  /** Of those, the ones whose update was left out. */
  get skippedSteps(): number {
    return this.#skippedSteps;
  }

  /** Those that updated something, by which schedules and bias corrections count. */
  get updates(): number {
    return this.#steps - this.#skippedSteps;
  }

  /** The factor on the loss that the next step is computed with. */
  get lossScale(): number {
    return this.#lossScale.scale;
  }

  /** What the loss scale does about the next step, should it overflow. */
  get overflowAnswer(): OverflowAnswer {
    return overflowAnswer(this.#scaling, this.#lossScale);
  }

  count(skipped: boolean): void {
    this.#steps += 1;
    this.#skippedSteps += skipped ? 1 : 0;
    this.#lossScale = nextLossScale(this.#scaling, this.#lossScale, skipped);
  }

  /** For `extra` of a checkpoint. */
  toSave(): Readonly<Record<string, number | Record<string, number>>> {
    return {
      [SKIPPED_STEPS]: this.#skippedSteps,
      ...(this.#scaling.kind === 'dynamic' && { [LOSS_SCALER]: { ...this.#lossScale } }),
    };
  }

  /**
   * Goes on from a checkpoint. One of a run without a dynamic scale leaves the scale where it begins.
   *
   * @throws TrainyardError CHECKPOINT_INVALID for values that no run can have saved
   */
  restore({ tag, state: { step, extra } }: Pick<LoadedCheckpoint, 'tag' | 'state'>): void {
    const skipped = extra[SKIPPED_STEPS] ?? 0;
    if (typeof skipped !== 'number' || !(skipped >= 0 && skipped <= step)) throw invalid(tag, SKIPPED_STEPS);
    const saved = lossScalerStateSchema.optional().safeParse(extra[LOSS_SCALER]);
    if (!saved.success) throw invalid(tag, LOSS_SCALER);
    this.#steps = step;
    this.#skippedSteps = skipped;
    if (saved.data !== undefined && this.#scaling.kind === 'dynamic') this.#lossScale = saved.data;
  }
}

function invalid(tag: string, key: string): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: `The checkpoint says something impossible of the run: ${key}.`,
    where: tag,
    cure: 'Remove this checkpoint; an older one beside it is used then.',
  });
}

/** What a schedule sets before one optimizer step. */
export interface ScheduledValues {
  readonly learningRate: number;
  /** β₁, where the schedule moves it; else the optimizer keeps its own. */
  readonly momentum?: number;
}

/**
 * A learning-rate schedule: a pure function of the number of optimizer steps done, so that a resumed run needs
 * only that number. A step that was skipped for its overflow is not counted.
 */
export interface Schedule {
  /** The values that optimizer step `step` uses, the first being 0. */
  at(step: number): ScheduledValues;
}

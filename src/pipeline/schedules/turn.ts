/** A pipeline as one of its stages sees it. All numbers but `stage` are at least 1. */
export interface PipelineShape {
  readonly stages: number;
  /** Parts of the model on each stage. */
  readonly chunks: number;
  readonly microBatches: number;
  /** From 0. */
  readonly stage: number;
}

/** What a stage does at a stretch: one chunk, one micro-batch, in one direction. */
export interface Turn {
  readonly kind: 'forward' | 'backward' | 'backward-input' | 'backward-weights';
  readonly chunk: number;
  readonly micro: number;
}

/** The turns of one stage, in order. A pure function: every stage knows what the others do. */
export type Schedule = (shape: PipelineShape) => readonly Turn[];

/** The label of a position that has no target; libtorch's cross-entropy leaves it out. */
export const NO_TARGET = -100;

/** One sequence, ready for a model. */
export interface Sequence {
  /** `[sequence length]` */
  readonly inputIds: Int32Array;
  /** `[sequence length]`: position i's target, already shifted, or `NO_TARGET`. */
  readonly labels: Int32Array;
}

/** Sequences of one length, by number. Reading one is pure: the same number always gives the same sequence. */
export interface SequenceDataset {
  readonly length: number;
  readonly sequenceLength: number;
  get(index: number): Sequence;
  /** How many labels of a sequence are targets, without making it. */
  targetTokens(index: number): number;
}

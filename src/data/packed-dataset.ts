import { invariant, TrainyardError } from '../base/errors.js';
import type { Sequence, SequenceDataset } from './sequence-dataset.js';
import type { TokenStore } from './token-store.js';

/**
 * All documents end to end, cut into windows of `sequenceLength + 1` ids that share one id with the next: every
 * id but the very first is a target exactly once, and no position is padding. What does not fill a window at the
 * end is left out.
 */
export class PackedDataset implements SequenceDataset {
  readonly length: number;

  /** @throws DATA_INVALID when the corpus does not fill one window. */
  constructor(
    readonly store: TokenStore,
    readonly sequenceLength: number,
  ) {
    this.length = Math.floor((store.ids.length - 1) / sequenceLength);
    if (this.length >= 1) return;
    throw new TrainyardError('DATA_INVALID', {
      what: 'The data is shorter than one sequence.',
      where: 'data.path',
      expected: `at least ${sequenceLength + 1} tokens (data.sequence_length + 1)`,
      got: `${store.ids.length} tokens`,
      cure: 'Give more text, or lower data.sequence_length.',
    });
  }

  get(index: number): Sequence {
    invariant(index >= 0 && index < this.length, `sequence ${index} of ${this.length}`);
    const start = index * this.sequenceLength;
    const end = start + this.sequenceLength;
    return {
      inputIds: Int32Array.from(this.store.ids.subarray(start, end)),
      labels: Int32Array.from(this.store.ids.subarray(start + 1, end + 1)),
    };
  }

  targetTokens(): number {
    return this.sequenceLength;
  }
}

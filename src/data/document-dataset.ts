import { invariant } from '../base/errors.js';
import { NO_TARGET, type Sequence, type SequenceDataset } from './sequence-dataset.js';
import type { TokenStore } from './token-store.js';

/**
 * One document a sequence: cut at `sequenceLength`, or filled up with `paddingId` behind its end.
 *
 * Position i's target is the document's id i + 1, so the last position of a document that is not cut has none,
 * and neither has padding. Causal attention keeps padding from the positions before it.
 */
export class DocumentDataset implements SequenceDataset {
  readonly length: number;
  readonly sequenceLength: number;
  /** How many documents lose targets because they are longer than a sequence. */
  readonly cutDocuments: number;

  /** @param longest sequences are no longer than this, nor than the longest document. */
  constructor(
    readonly store: TokenStore,
    longest: number,
    readonly paddingId: number,
  ) {
    this.length = store.documentEnds.length;
    let longestDocument = 0;
    for (let index = 0; index < this.length; index++) {
      longestDocument = Math.max(longestDocument, this.#end(index) - this.#start(index));
    }
    this.sequenceLength = Math.min(longest, longestDocument);
    let cutDocuments = 0;
    for (let index = 0; index < this.length; index++) {
      if (this.#end(index) - this.#start(index) - 1 > this.sequenceLength) cutDocuments += 1;
    }
    this.cutDocuments = cutDocuments;
  }

  get(index: number): Sequence {
    invariant(index >= 0 && index < this.length, `document ${index} of ${this.length}`);
    const start = this.#start(index);
    const end = this.#end(index);
    const inputIds = new Int32Array(this.sequenceLength).fill(this.paddingId);
    const labels = new Int32Array(this.sequenceLength).fill(NO_TARGET);
    inputIds.set(this.store.ids.subarray(start, Math.min(end, start + this.sequenceLength)));
    labels.set(this.store.ids.subarray(start + 1, Math.min(end, start + 1 + this.sequenceLength)));
    return { inputIds, labels };
  }

  targetTokens(index: number): number {
    return Math.min(this.#end(index) - this.#start(index) - 1, this.sequenceLength);
  }

  #start(index: number): number {
    return index === 0 ? 0 : this.#end(index - 1);
  }

  #end(index: number): number {
    return this.store.documentEnds[index] ?? 0;
  }
}

import type { DocumentKind } from './source/document.js';

/** A tokenized corpus: every document's ids end to end, and where each document ends. */
export interface TokenStore {
  readonly ids: Uint16Array | Uint32Array;
  /** The offset behind each document's last id, in `ids`. */
  readonly documentEnds: Float64Array;
  readonly kind: DocumentKind;
  readonly largestId: number;
  /** The document in which `largestId` was met first. */
  readonly largestIdPlace: string;
}

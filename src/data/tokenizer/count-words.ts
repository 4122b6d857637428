import type { Document } from '../source/document.js';
import { gpt2WordPattern } from './pre-tokenizer.js';

/**
 * Counts the words of text documents, as the byte-level pre-tokenizer cuts them.
 *
 * Documents of other kinds hold no text of their own; they are passed over.
 */
export async function countWords(documents: AsyncIterable<Document>): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  const pattern = gpt2WordPattern();
  for await (const document of documents) {
    if (document.kind !== 'text') continue;
    for (const piece of document.pieces) {
      for (const word of piece.match(pattern) ?? []) {
        const count = counts.get(word);
        counts.set(count === undefined ? ownCopy(word) : word, (count ?? 0) + 1);
      }
    }
  }
  return counts;
}

/** A match is a window onto its piece, and as a key it would keep the whole corpus in memory. */
function ownCopy(word: string): string {
  return Buffer.from(word, 'utf16le').toString('utf16le');
}

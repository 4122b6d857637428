/** Pieces are about this long, in UTF-16 code units. */
const PIECE_LENGTH = 1 << 20;

/** How many pieces' length a cut that changes nothing is looked for before the text is cut anyway. */
const SEARCHED_PIECES = 4;

/**
 * Cuts a stream of text into pieces whose token ids, put end to end, are the ids of the whole.
 *
 * Pre-tokenizers of the GPT-2 and Llama kind never join a letter or digit with the whitespace behind it, nor a
 * single line break with the text of the next line; the cuts are made only there. Text without such a place for
 * four pieces is cut between two characters: nothing that long is language, and a bound on the work matters more.
 */
export function* splitText(blocks: Iterable<string>, pieceLength: number = PIECE_LENGTH): Generator<string> {
  let held = '';
  for (const block of blocks) {
    held = held === '' ? block : held + block;
    while (held.length > pieceLength) {
      const cut = findCut(held, pieceLength);
      if (cut === undefined) break;
      yield held.slice(0, cut);
      held = held.slice(cut);
    }
  }
  if (held !== '') yield held;
}

function findCut(text: string, pieceLength: number): number | undefined {
  for (let cut = pieceLength; cut > pieceLength / 2; cut--) if (isNeutralCut(text, cut)) return cut;
  const end = Math.min(text.length - 1, (1 + SEARCHED_PIECES) * pieceLength);
  for (let cut = pieceLength + 1; cut < end; cut++) if (isNeutralCut(text, cut)) return cut;
  if (text.length <= (1 + SEARCHED_PIECES) * pieceLength) return undefined;
  return isLowSurrogate(text.charCodeAt(pieceLength)) ? pieceLength - 1 : pieceLength;
}

function isNeutralCut(text: string, cut: number): boolean {
  const before = text.charAt(cut - 1);
  const after = text.charAt(cut);
  if (isWhitespace(after)) return /[\p{L}\p{N}]/u.test(before);
  return before === '\n' && cut >= 2 && !isWhitespace(text.charAt(cut - 2));
}

function isWhitespace(character: string): boolean {
  return /\p{White_Space}/u.test(character);
}

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}

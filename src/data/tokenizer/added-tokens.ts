/** A token that is found in the text itself, before any pre-tokenization. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** Has a meaning of its own and is left out of decoded text. */
  readonly special: boolean;
}

/** A stretch of text between added tokens, or one of them. */
export type Stretch = string | AddedToken;

/** Finds added tokens in text: the leftmost, and of those the longest, as Hugging Face does. */
export class AddedTokenSplitter {
  readonly #byContent: ReadonlyMap<string, AddedToken>;
  readonly #pattern: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    this.#byContent = new Map(tokens.map((token) => [token.content, token]));
    const longestFirst = [...this.#byContent.keys()].sort((first, second) => second.length - first.length);
    const source = longestFirst.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|');
    this.#pattern = source === '' ? undefined : new RegExp(source, 'gu');
  }

  /** The text cut up, in order; empty stretches are left out. */
  split(text: string): readonly Stretch[] {
    if (this.#pattern === undefined) return [text];
    const stretches: Stretch[] = [];
    let end = 0;
    for (const match of text.matchAll(this.#pattern)) {
      const token = this.#byContent.get(match[0]);
      if (token === undefined) continue;
      if (match.index > end) stretches.push(text.slice(end, match.index));
      stretches.push(token);
      end = match.index + match[0].length;
    }
    if (end < text.length) stretches.push(text.slice(end));
    return stretches;
  }
}

/** Ids with a meaning of their own, where the tokenizer or the model's folder states them. */
export interface SpecialTokenIds {
  /** Begins a text. */
  readonly beginning?: number;
  /** Ends a document: joins documents when they are packed, stops generation. */
  readonly end?: number;
  /** Fills up short sequences. */
  readonly padding?: number;
}

/** Turns ids into text as they come, for printing while a model generates. */
export interface StreamDecoder {
  /** The text that this id completes: possibly none, and never a part of a character. */
  push(id: number): string;
  /** What is left at the end; an unfinished character becomes U+FFFD. */
  end(): string;
}

/**
 * Text to token ids and back: the contract of `tokenizer/`.
 *
 * Encoding the same text always gives the same ids; `identity` changes whenever they could.
 */
export interface Tokenizer {
  /** A digest of everything that the ids depend on: part of the key of the token cache. */
  readonly identity: string;
  /** One more than the largest id: the least `vocab_size` of a model that takes the ids. */
  readonly vocabularySize: number;
  readonly special: SpecialTokenIds;
  /** The Jinja source that turns messages into text, if the tokenizer came with one. */
  readonly chatTemplate: string | undefined;
  /** The special tokens by the names under which chat templates use them, such as `eos_token`. */
  readonly templateVariables: Readonly<Record<string, string>>;
  /** The files, by name, that a model's folder has to hold so that Hugging Face finds this tokenizer there. */
  readonly files: ReadonlyMap<string, string>;

  /** The ids of the text; with `addSpecialTokens` as a model expects a prompt (a leading `<s>`, where it has one). */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): Int32Array;

  /** The text of the ids; special tokens are left out unless `keepSpecialTokens`. */
  decode(ids: ArrayLike<number>, options?: { readonly keepSpecialTokens?: boolean }): string;

  streamDecoder(): StreamDecoder;
}

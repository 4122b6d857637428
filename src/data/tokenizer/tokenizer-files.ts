/** A byte-level BPE vocabulary, by id, with the pairs of entries that merge, first merges first. */
export interface ByteLevelVocabulary {
  /** Entries in the byte alphabet; special tokens as they are written. */
  readonly vocabulary: readonly string[];
  readonly merges: readonly (readonly [left: string, right: string])[];
  /** The entries, among `vocabulary`, that are special tokens. */
  readonly specialTokens: readonly string[];
  /** The special token that ends a document. */
  readonly endToken: string | undefined;
}

/** The `tokenizer.json` and `tokenizer_config.json` of a byte-level BPE vocabulary, as Hugging Face reads them. */
export function tokenizerFiles(from: ByteLevelVocabulary): ReadonlyMap<string, string> {
  const special = new Set(from.specialTokens);
  const addedTokens = from.vocabulary.flatMap((content, id) =>
    special.has(content)
      ? [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }]
      : [],
  );
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens,
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: { ...byteLevel, add_prefix_space: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(from.vocabulary.map((entry, id) => [entry, id])),
      merges: from.merges,
    },
  };
  const end = from.endToken === undefined ? {} : { eos_token: from.endToken, pad_token: from.endToken };
  const config = { tokenizer_class: 'PreTrainedTokenizerFast', clean_up_tokenization_spaces: false, ...end };
  return new Map([
    ['tokenizer.json', `${JSON.stringify(tokenizer, null, 1)}\n`],
    ['tokenizer_config.json', `${JSON.stringify(config, null, 2)}\n`],
  ]);
}

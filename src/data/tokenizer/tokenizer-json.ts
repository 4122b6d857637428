import { z } from 'zod';

/**
 * The parts of a Hugging Face `tokenizer.json` that we look at. Anything else in the file is for
 * `@huggingface/tokenizers`, so that these schemas let unknown keys pass.
 */
const addedTokenSchema = z.looseObject({
  id: z.int().nonnegative(),
  content: z.string().min(1),
  special: z.boolean().default(false),
  single_word: z.boolean().default(false),
  lstrip: z.boolean().default(false),
  rstrip: z.boolean().default(false),
  normalized: z.boolean().default(false),
});

const componentSchema = z.looseObject({ type: z.string() }).nullish();

export const tokenizerJsonSchema = z.looseObject({
  added_tokens: z.array(addedTokenSchema).default([]),
  normalizer: componentSchema,
  pre_tokenizer: componentSchema,
  post_processor: componentSchema,
  decoder: componentSchema,
  model: z.looseObject({
    // The library takes a type it does not know for a legacy form, and would give other ids.
    type: z.enum(['BPE', 'Unigram', 'WordPiece']),
    // An object for BPE, WordPiece and WordLevel; a list of [entry, score] for Unigram.
    vocab: z.union([z.record(z.string(), z.int().nonnegative()), z.array(z.tuple([z.string(), z.number()]))]),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).optional(),
  }),
});

/** A `tokenizer.json` whose outline has been checked. */
export type TokenizerJson = Readonly<z.output<typeof tokenizerJsonSchema>>;

/** A component such as a pre-tokenizer: its type, and settings that depend on it. */
export type TokenizerComponent = z.output<typeof componentSchema>;

/** The entries of the model's vocabulary with their ids. */
export function vocabularyEntries(json: TokenizerJson): Iterable<readonly [entry: string, id: number]> {
  const vocabulary = json.model.vocab;
  return Array.isArray(vocabulary)
    ? vocabulary.map(([entry], id): [string, number] => [entry, id])
    : Object.entries(vocabulary);
}

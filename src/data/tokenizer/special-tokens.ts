import { z } from 'zod';
import type { SpecialTokenIds } from '../tokenizer.js';

const namedTokenSchema = z
  .union([z.string(), z.looseObject({ content: z.string() })])
  .nullish()
  .transform((token) => (typeof token === 'object' ? token?.content : token) ?? undefined);

/** The keys of `tokenizer_config.json` that name special tokens. */
export const namedTokensSchema = z.looseObject({
  bos_token: namedTokenSchema,
  eos_token: namedTokenSchema,
  pad_token: namedTokenSchema,
  unk_token: namedTokenSchema,
});

const statedIdSchema = z
  .union([z.int(), z.array(z.int())])
  .nullish()
  .transform((id) => (Array.isArray(id) ? id[0] : id) ?? undefined);

/** The keys of `config.json` and `generation_config.json` that name special ids. */
export const statedIdsSchema = z.looseObject({
  bos_token_id: statedIdSchema,
  eos_token_id: statedIdSchema,
  pad_token_id: statedIdSchema,
});

/** The end token by the names it commonly has, most telling first. */
const USUAL_END = ['</s>', '<|endoftext|>', '<|end_of_text|>', '<eos>', '<|im_end|>'];
const USUAL_BEGINNING = ['<s>', '<|begin_of_text|>', '<bos>'];

/** What is known about special tokens, by source. */
interface SpecialTokenSources {
  readonly names: z.output<typeof namedTokensSchema>;
  readonly stated: z.output<typeof statedIdsSchema>;
  /** Every entry's id, by its text. */
  readonly idOf: (content: string) => number | undefined;
  /** Whether the id is a special added token. */
  readonly isSpecial: (id: number) => boolean;
}

/**
 * The special ids: what `tokenizer_config.json` names, else what the model's `config.json` states, else the usual
 * names.
 *
 * An id from `config.json` counts only when the tokenizer holds it as a special token: a `config.json` made from
 * defaults states ids of another vocabulary.
 */
export function specialTokenIds({ names, stated, idOf, isSpecial }: SpecialTokenSources): SpecialTokenIds {
  const usual = (contents: readonly string[]): number | undefined =>
    contents.map(idOf).find((id) => id !== undefined && isSpecial(id));
  const pick = (
    name: string | undefined,
    id: number | undefined,
    contents: readonly string[],
  ): number | undefined => {
    const named = name === undefined ? undefined : idOf(name);
    if (named !== undefined) return named;
    return id !== undefined && isSpecial(id) ? id : usual(contents);
  };
  const beginning = pick(names.bos_token, stated.bos_token_id, USUAL_BEGINNING);
  const end = pick(names.eos_token, stated.eos_token_id, USUAL_END);
  const padding = pick(names.pad_token, stated.pad_token_id, []);
  return {
    ...(beginning === undefined ? {} : { beginning }),
    ...(end === undefined ? {} : { end }),
    ...(padding === undefined ? {} : { padding }),
  };
}

import { TrainyardError } from '../../base/errors.js';
import { BYTE_CHARACTERS } from './byte-alphabet.js';
import type { ByteLevelBpeDefinition } from './byte-level-bpe.js';
import { gpt2WordPattern, knownWordPattern } from './pre-tokenizer.js';
import type { TokenizerComponent, TokenizerJson } from './tokenizer-json.js';
import { vocabularyEntries } from './tokenizer-json.js';

/**
 * Whether a `tokenizer.json` is of the kind that our own encoder does exactly, and its definition if so.
 *
 * Everything in the file that could change an id is looked at; one unknown setting and the answer is `undefined`,
 * which leaves the file to `@huggingface/tokenizers`.
 *
 * @throws TOKENIZER_INVALID when a merge names an entry that the vocabulary lacks.
 */
export function recognizeByteLevelBpe(json: TokenizerJson, file: string): ByteLevelBpeDefinition | undefined {
  const wordPattern = recognizePreTokenizer(json.pre_tokenizer);
  const normalization = recognizeNormalizer(json.normalizer);
  const frame = recognizePostProcessor(json.post_processor);
  if (wordPattern === undefined || normalization === undefined || frame === undefined) return undefined;
  if (!isPlainBpe(json.model) || !hasPlainAddedTokens(json) || json.decoder?.type !== 'ByteLevel')
    return undefined;

  const vocabulary = new Map(vocabularyEntries(json));
  if (!BYTE_CHARACTERS.every((character) => vocabulary.has(character))) return undefined;
  return {
    vocabulary,
    merges: readMerges(json, vocabulary, file),
    addedTokens: json.added_tokens,
    wordPattern,
    normalization: normalization.form,
    ignoreMerges: json.model.ignore_merges === true,
    ...frame,
  };
}

function isPlainBpe(model: TokenizerJson['model']): boolean {
  const unset = (value: unknown): boolean =>
    value === undefined || value === null || value === false || value === '';
  return (
    model.type === 'BPE' &&
    model.merges !== undefined &&
    (unset(model.dropout) || model.dropout === 0) &&
    unset(model.continuing_subword_prefix) &&
    unset(model.end_of_word_suffix) &&
    unset(model.byte_fallback)
  );
}

/** Added tokens that take or need the space around them, or are sought after normalization, are not ours. */
function hasPlainAddedTokens(json: TokenizerJson): boolean {
  const normalizes = json.normalizer !== undefined && json.normalizer !== null;
  const [first] = json.added_tokens;
  return json.added_tokens.every(
    (token) =>
      !token.single_word &&
      !token.lstrip &&
      !token.rstrip &&
      (normalizes ? !token.normalized : token.normalized === first?.normalized),
  );
}

function recognizeNormalizer(
  normalizer: TokenizerComponent,
): { readonly form: 'NFC' | undefined } | undefined {
  if (normalizer === undefined || normalizer === null) return { form: undefined };
  return normalizer.type === 'NFC' ? { form: 'NFC' } : undefined;
}

function recognizePreTokenizer(component: TokenizerComponent): RegExp | undefined {
  if (component?.type === 'ByteLevel') {
    return component.add_prefix_space === false && component.use_regex !== false
      ? gpt2WordPattern()
      : undefined;
  }
  if (component?.type !== 'Sequence' || !Array.isArray(component.pretokenizers)) return undefined;
  const [split, byteLevel, ...others] = component.pretokenizers as Record<string, unknown>[];
  const cutsAlone =
    others.length === 0 &&
    byteLevel?.type === 'ByteLevel' &&
    byteLevel.use_regex === false &&
    byteLevel.add_prefix_space === false;
  if (!cutsAlone || split?.type !== 'Split' || split.behavior !== 'Isolated' || split.invert === true)
    return undefined;
  const pattern = split.pattern as { readonly Regex?: unknown } | undefined;
  return typeof pattern?.Regex === 'string' ? knownWordPattern(pattern.Regex) : undefined;
}

interface Frame {
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

function recognizePostProcessor(component: TokenizerComponent): Frame | undefined {
  if (component === undefined || component === null || component.type === 'ByteLevel')
    return { prefix: [], suffix: [] };
  if (component.type === 'Sequence' && Array.isArray(component.processors)) {
    const parts = (component.processors as NonNullable<TokenizerComponent>[]).filter(
      ({ type }) => type !== 'ByteLevel',
    );
    return parts.length <= 1 ? recognizePostProcessor(parts[0]) : undefined;
  }
  if (component.type !== 'TemplateProcessing' || !Array.isArray(component.single)) return undefined;
  const tokens = component.special_tokens as
    | Readonly<Record<string, { readonly ids?: number[] }>>
    | undefined;
  const prefix: number[] = [];
  const suffix: number[] = [];
  let side = prefix;
  for (const step of component.single as { Sequence?: unknown; SpecialToken?: { id: string } }[]) {
    if (step.Sequence !== undefined) side = suffix;
    else {
      const ids = step.SpecialToken === undefined ? undefined : tokens?.[step.SpecialToken.id]?.ids;
      if (ids === undefined) return undefined;
      side.push(...ids);
    }
  }
  return { prefix, suffix };
}

function readMerges(
  json: TokenizerJson,
  vocabulary: ReadonlyMap<string, number>,
  file: string,
): [left: string, right: string][] {
  return (json.model.merges ?? []).map((merge, position) => {
    // Older files write "left right"; no entry holds a space, the byte alphabet has none.
    const [left = '', right = ''] = typeof merge === 'string' ? merge.split(' ') : merge;
    const missing = [left, right, left + right].find((entry) => !vocabulary.has(entry));
    if (missing === undefined) return [left, right];
    throw new TrainyardError('TOKENIZER_INVALID', {
      what: 'A merge names an entry that the vocabulary does not hold.',
      where: `${file}: model.merges[${position}]`,
      got: JSON.stringify(missing),
    });
  });
}

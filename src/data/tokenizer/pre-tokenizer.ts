/**
 * The ways of cutting text into words, before any merge, that our own encoder knows. Each takes linear time on
 * any input, and together the words are the whole text.
 *
 * They restate, in JavaScript's syntax, the regular expressions that the models published; `\s` there is
 * Unicode's White_Space, which differs from JavaScript's `\s` in U+0085 and U+FEFF.
 */
const SPACE = '\\p{White_Space}';
const TRAILING_SPACE = `${SPACE}+(?!\\P{White_Space})|${SPACE}+`;

/** GPT-2's, also what `{"type": "ByteLevel", "use_regex": true}` means. */
const GPT2 = `'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+| ?[^${SPACE}\\p{L}\\p{N}]+|${TRAILING_SPACE}`;

/** The family of `cl100k`: as Llama 3 has it, digits in groups of up to three, and as Qwen2 has it, one by one. */
function llama3Like(digits: string): string {
  return [
    // (?i:…) is newer than Node 20; the long s and the Kelvin-like foldings belong to it.
    "'(?:[sS\u017f]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])",
    '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+',
    digits,
    ` ?[^${SPACE}\\p{L}\\p{N}]+[\\r\\n]*`,
    `${SPACE}*[\\r\\n]+`,
    TRAILING_SPACE,
  ].join('|');
}

const PUBLISHED_TAIL = '| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const PUBLISHED_HEAD = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|";

const SPLIT_PATTERNS: ReadonlyMap<string, string> = new Map([
  ["'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", GPT2],
  [`${PUBLISHED_HEAD}\\p{N}{1,3}${PUBLISHED_TAIL}`, llama3Like('\\p{N}{1,3}')],
  [`${PUBLISHED_HEAD}\\p{N}${PUBLISHED_TAIL}`, llama3Like('\\p{N}')],
]);

/** GPT-2's word pattern. A fresh object, since a global RegExp carries its position. */
export function gpt2WordPattern(): RegExp {
  return new RegExp(GPT2, 'gu');
}

/** Our pattern for a published one, given as `tokenizer.json` spells it, or `undefined` for one we do not know. */
export function knownWordPattern(published: string): RegExp | undefined {
  const source = SPLIT_PATTERNS.get(published);
  return source === undefined ? undefined : new RegExp(source, 'gu');
}

import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadTokenizer } from '../../src/data/tokenizer/load-tokenizer.js';
import type { MakeFuzzer } from './fuzz.js';
import { damageText, type Json, mutateSeveral, pick, STRANGE_VALUES } from './mutate-json.js';

const FIXTURES = join(import.meta.dirname, '../../../test/fixtures/data/tokenizers');
const KINDS = ['gpt2', 'llama3', 'qwen2', 'unigram'];
/** Names that some place in a tokenizer knows, and others do not. */
const STRANGE: readonly Json[] = [
  ...STRANGE_VALUES,
  ...[
    'BPE',
    'Unigram',
    'WordPiece',
    'ByteLevel',
    'Sequence',
    'Split',
    'NFKC',
    'Removed',
    'Ġ',
    '[',
    '(?<=',
    '\\p{L}+',
  ],
  { type: 'Sequence', normalizers: [{ type: 'NFC' }] },
  { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' },
];
const TEXT = 'Two trains: é🙂 leave  the\nyard';

/** Tokenizers of Hugging Face's, with which a text is encoded and decoded where they load. */
export const tokenizers: MakeFuzzer = (folder) => {
  const file = join(folder, 'tokenizer.json');
  const settings = join(folder, 'tokenizer_config.json');
  const sources = KINDS.map((kind) => {
    cpSync(join(FIXTURES, kind, 'tokenizer.json'), file);
    return readFileSync(file, 'utf8');
  });
  return {
    codes: ['TOKENIZER_INVALID'],
    round(chance) {
      const source = pick(sources, chance) ?? '';
      const isDamaged = chance() < 0.2;
      const changed = (text: string): string | Buffer =>
        isDamaged
          ? damageText(text, chance)
          : JSON.stringify(mutateOutside(JSON.parse(text) as Json, chance));
      writeFileSync(file, changed(source));
      const config: Json = { eos_token: '<|endoftext|>', bos_token: { content: 'a' }, chat_template: 'x' };
      writeFileSync(
        settings,
        JSON.stringify(chance() < 0.3 ? mutateSeveral(config, chance, STRANGE) : config),
      );
      const tokenizer = loadTokenizer(folder, '/');
      tokenizer.decode(tokenizer.encode(TEXT, { addSpecialTokens: true }));
    },
  };
};

/** Most of such a file is vocabulary and merges: other parts are chosen as often. */
function mutateOutside(json: Json, chance: () => number): Json {
  if (chance() < 0.2 || typeof json !== 'object' || json === null || !('model' in json)) {
    return mutateSeveral(json, chance, STRANGE);
  }
  const { model, ...others } = json;
  if (chance() < 0.6) return { ...(mutateSeveral(others, chance, STRANGE) as object), model: model ?? null };
  if (typeof model !== 'object' || model === null || !('vocab' in model)) return json;
  const { vocab, ...rest } = model;
  return { ...others, model: { ...(mutateSeveral(rest, chance, STRANGE) as object), vocab: vocab ?? null } };
}

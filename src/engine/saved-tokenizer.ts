import { readFileSync } from 'node:fs';
import type { Tokenizer } from '../data/tokenizer.js';
import { GENERATION_FILE, TOKENIZER_FILE } from '../store/hugging-face/file-names.js';
import type { ModelFolder } from '../store/hugging-face/model-folder.js';
import { readJsonObject } from '../store/hugging-face/read-json.js';

type RawConfig = Readonly<Record<string, unknown>>;

/** The parts of a model's folder that depend on its tokenizer. */
export interface TokenizedModel {
  readonly config: RawConfig;
  /** By their names in the folder, each as a path to copy or as its bytes. */
  readonly companionFiles: ReadonlyMap<string, string | Uint8Array>;
}

/**
 * What a model is saved with that was trained with this tokenizer: its files, and its special tokens in the
 * configuration, null where it has none, since transformers would take ids of the architecture's first vocabulary
 * for them. A model that keeps the tokenizer of the folder it came from keeps what the folder says.
 */
export function withTokenizer(
  config: RawConfig,
  tokenizer: Tokenizer | undefined,
  folder: ModelFolder | undefined,
): TokenizedModel {
  const inherited = folder?.companionFiles ?? new Map<string, string>();
  if (tokenizer === undefined || isTokenizerOf(tokenizer, folder))
    return { config, companionFiles: inherited };
  // What a folder states are ids of another vocabulary.
  const ids = specialIds(tokenizer, folder === undefined ? config : {});
  const texts = [...tokenizer.files].map(([name, text]) => [name, Buffer.from(text)] as const);
  const files = new Map<string, string | Uint8Array>(texts);
  const generation = inherited.get(GENERATION_FILE);
  if (generation !== undefined) files.set(GENERATION_FILE, withIds(readJsonObject(generation), ids));
  return { config: { ...config, ...ids }, companionFiles: files };
}

function isTokenizerOf(tokenizer: Tokenizer, folder: ModelFolder | undefined): boolean {
  const path = folder?.tokenizerPath;
  return path !== undefined && readFileSync(path, 'utf8') === tokenizer.files.get(TOKENIZER_FILE);
}

function specialIds({ special }: Tokenizer, stated: RawConfig): Readonly<Record<string, unknown>> {
  const own = { bos_token_id: special.beginning, eos_token_id: special.end, pad_token_id: special.padding };
  return Object.fromEntries(Object.entries(own).map(([name, id]) => [name, idToWrite(stated[name], id)]));
}

/** A list of ids may be stated, where any of several ends a text. */
function idToWrite(stated: unknown, own: number | undefined): unknown {
  if (own === undefined || (Array.isArray(stated) && stated.includes(own))) return stated ?? null;
  return own;
}

function withIds(generation: RawConfig, ids: RawConfig): Buffer {
  const known = Object.entries({ ...generation, ...ids }).filter(
    ([name, id]) => !(name in ids) || id !== null,
  );
  return Buffer.from(`${JSON.stringify(Object.fromEntries(known), undefined, 2)}\n`);
}

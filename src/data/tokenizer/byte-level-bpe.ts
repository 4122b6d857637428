import type { SpecialTokenIds, StreamDecoder, Tokenizer } from '../tokenizer.js';
import { type AddedToken, AddedTokenSplitter } from './added-tokens.js';
import { BYTE_CHARACTERS, bytesOfEntry } from './byte-alphabet.js';
import { byteStreamDecoder } from './byte-stream-decoder.js';
import { MergeTable } from './merge-table.js';
import type { TokenizerSetting } from './tokenizer-setting.js';

/** What our encoder needs to know of a byte-level BPE. */
export interface ByteLevelBpeDefinition {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [left: string, right: string])[];
  readonly addedTokens: readonly AddedToken[];
  readonly wordPattern: RegExp;
  readonly normalization: 'NFC' | undefined;
  /** A word that is an entry as a whole takes that id, whatever the merges would make of it (Llama 3). */
  readonly ignoreMerges: boolean;
  /** Ids around a prompt, such as a leading `<s>`. */
  readonly prefix: readonly number[];
  readonly suffix: readonly number[];
}

/** Words past this length are as good as unique; they are encoded each time. */
const LONGEST_REMEMBERED_WORD = 64;

/** About 100 MB of words; then the memory starts over, which a corpus of ordinary text hardly ever reaches. */
const MOST_REMEMBERED_WORDS = 500_000;

/** Byte-level BPE (GPT-2's scheme): pre-tokenization, merges within each word, every word remembered. */
export class ByteLevelBpe implements Tokenizer {
  readonly identity: string;
  readonly vocabularySize: number;
  readonly special: SpecialTokenIds;
  readonly chatTemplate: string | undefined;
  readonly templateVariables: Readonly<Record<string, string>>;
  readonly files: ReadonlyMap<string, string>;

  readonly #definition: ByteLevelBpeDefinition;
  readonly #splitter: AddedTokenSplitter;
  readonly #byteIds: Int32Array;
  readonly #merges: MergeTable;
  readonly #bytes: ReadonlyMap<number, Uint8Array>;
  readonly #specialIds: ReadonlySet<number>;
  readonly #remembered = new Map<string, readonly number[]>();

  constructor(definition: ByteLevelBpeDefinition, setting: TokenizerSetting) {
    this.identity = setting.identity;
    this.vocabularySize = setting.vocabularySize;
    this.special = setting.special;
    this.chatTemplate = setting.chatTemplate;
    this.templateVariables = setting.templateVariables;
    this.files = setting.files;

    const { vocabulary, addedTokens } = definition;
    this.#definition = definition;
    this.#splitter = new AddedTokenSplitter(addedTokens);
    this.#byteIds = Int32Array.from(BYTE_CHARACTERS, (character) => vocabulary.get(character) ?? -1);
    this.#merges = new MergeTable(idsOfMerges(definition), setting.vocabularySize);
    this.#bytes = bytesById(definition);
    this.#specialIds = new Set(addedTokens.flatMap(({ id, special }) => (special ? [id] : [])));
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): Int32Array {
    const { wordPattern, normalization, prefix, suffix } = this.#definition;
    const ids: number[] = [];
    if (options.addSpecialTokens === true) ids.push(...prefix);
    for (const stretch of this.#splitter.split(text)) {
      if (typeof stretch !== 'string') {
        ids.push(stretch.id);
        continue;
      }
      const normalized = normalization === undefined ? stretch : stretch.normalize(normalization);
      for (const word of normalized.match(wordPattern) ?? []) {
        for (const id of this.#encodeWord(word)) ids.push(id);
      }
    }
    if (options.addSpecialTokens === true) ids.push(...suffix);
    return Int32Array.from(ids);
  }

  #encodeWord(word: string): readonly number[] {
    const remembered = this.#remembered.get(word);
    if (remembered !== undefined) return remembered;
    const bytes = Buffer.from(word, 'utf8');
    const ids =
      this.#wholeWord(bytes) ?? this.#merges.apply(Array.from(bytes, (byte) => this.#byteIds[byte] ?? 0));
    if (word.length <= LONGEST_REMEMBERED_WORD) {
      if (this.#remembered.size >= MOST_REMEMBERED_WORDS) this.#remembered.clear();
      // Decoded anew, because a match is a window onto the text and would keep all of it in memory.
      this.#remembered.set(bytes.toString('utf8'), ids);
    }
    return ids;
  }

  #wholeWord(bytes: Uint8Array): readonly number[] | undefined {
    if (!this.#definition.ignoreMerges) return undefined;
    const id = this.#definition.vocabulary.get(Array.from(bytes, (byte) => BYTE_CHARACTERS[byte]).join(''));
    return id === undefined ? undefined : [id];
  }

  decode(ids: ArrayLike<number>, options: { readonly keepSpecialTokens?: boolean } = {}): string {
    const shown = Array.from(ids).filter(
      (id) => options.keepSpecialTokens === true || !this.#specialIds.has(id),
    );
    const bytes = Buffer.concat(shown.map((id) => this.#bytesOf(id)));
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  }

  streamDecoder(): StreamDecoder {
    return byteStreamDecoder((id) => (this.#specialIds.has(id) ? NO_BYTES : this.#bytesOf(id)));
  }

  /** Ids that the vocabulary lacks, which a model with a padded `vocab_size` may well produce, show nothing. */
  #bytesOf(id: number): Uint8Array {
    return this.#bytes.get(id) ?? NO_BYTES;
  }
}

const NO_BYTES = new Uint8Array(0);

function idsOfMerges({ vocabulary, merges }: ByteLevelBpeDefinition): [number, number, number][] {
  return merges.map(([left, right]) => [
    vocabulary.get(left) ?? -1,
    vocabulary.get(right) ?? -1,
    vocabulary.get(left + right) ?? -1,
  ]);
}

function bytesById({ vocabulary, addedTokens }: ByteLevelBpeDefinition): ReadonlyMap<number, Uint8Array> {
  const bytes = new Map<number, Uint8Array>();
  for (const [entry, id] of vocabulary)
    bytes.set(id, Uint8Array.from(bytesOfEntry(entry) ?? Buffer.from(entry)));
  for (const { id, content } of addedTokens) bytes.set(id, Buffer.from(content, 'utf8'));
  return bytes;
}

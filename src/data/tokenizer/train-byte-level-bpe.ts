import { TrainyardError } from '../../base/errors.js';
import { BYTE_CHARACTERS } from './byte-alphabet.js';
import { Heap } from './heap.js';
import type { ByteLevelVocabulary } from './tokenizer-files.js';

/** What to learn; the defaults are those of Hugging Face's `BpeTrainer`. */
export interface BpeTraining {
  readonly vocabularySize: number;
  /** Take the first ids, in this order. The first of them ends a document. */
  readonly specialTokens: readonly string[];
  /** A pair seen less often than this is not merged. */
  readonly minimumFrequency?: number;
}

/**
 * Learns a byte-level BPE vocabulary (Sennrich et al. 2016, over GPT-2's byte alphabet) from counted words.
 *
 * Each round merges the most frequent pair of neighbouring entries; of equally frequent pairs the one with the
 * smaller ids. Counts are kept up to date word by word and the candidates wait in a heap, so that a round costs
 * as much as the words it changes. Round for round it chooses what Hugging Face's Rust trainer chooses.
 *
 * @param words how often each pre-tokenized word occurs.
 * @throws USAGE when the vocabulary cannot hold the special tokens and the 256 bytes.
 */
export function trainByteLevelBpe(
  words: ReadonlyMap<string, number>,
  training: BpeTraining,
): ByteLevelVocabulary {
  const specialTokens = [...new Set(training.specialTokens)];
  const least = specialTokens.length + BYTE_CHARACTERS.length;
  if (training.vocabularySize < least) {
    throw new TrainyardError('USAGE', {
      what: 'The vocabulary is too small.',
      expected: `at least ${least} entries: 256 bytes and ${specialTokens.length} special tokens`,
      got: `${training.vocabularySize}`,
    });
  }
  const alphabet = [...BYTE_CHARACTERS].sort();
  const learner = new MergeLearner([...specialTokens, ...alphabet], words);
  const merges = learner.learn(training.vocabularySize, Math.max(1, training.minimumFrequency ?? 0));
  return { vocabulary: learner.vocabulary, merges, specialTokens, endToken: specialTokens[0] };
}

/** A pair of neighbouring entries and how often it now occurs. */
interface Pair {
  readonly left: number;
  readonly right: number;
  count: number;
  /** Words in which this round made the pair appear. */
  appearedIn: number[] | undefined;
}

/** A pair in the heap, with the count it had when it went there and the words to look for it in. */
interface Candidate {
  readonly pair: Pair;
  count: number;
  readonly words: readonly number[];
}

/** Larger than any id, so that `left * STRIDE + right` names a pair exactly. */
const STRIDE = 2 ** 24;

class MergeLearner {
  readonly vocabulary: string[];
  readonly #ids: Map<string, number>;
  readonly #words: number[][] = [];
  readonly #frequencies: number[] = [];
  readonly #pairs = new Map<number, Pair>();
  readonly #candidates = new Heap<Candidate>(comesFirst);

  constructor(vocabulary: string[], words: ReadonlyMap<string, number>) {
    this.vocabulary = vocabulary;
    this.#ids = new Map(vocabulary.map((entry, id) => [entry, id]));
    const byteIds = BYTE_CHARACTERS.map((character) => this.#ids.get(character) ?? 0);
    for (const [word, frequency] of words) {
      this.#words.push(Array.from(Buffer.from(word, 'utf8'), (byte) => byteIds[byte] ?? 0));
      this.#frequencies.push(frequency);
    }
    this.#countPairs();
  }

  /** Merges until the vocabulary is full or no pair is frequent enough. */
  learn(vocabularySize: number, minimumFrequency: number): [string, string][] {
    const merges: [string, string][] = [];
    while (this.vocabulary.length < vocabularySize) {
      const best = this.#candidates.pop();
      if (best === undefined) break;
      if (best.count !== best.pair.count) {
        best.count = best.pair.count;
        this.#candidates.push(best);
        continue;
      }
      if (best.count < minimumFrequency) break;
      const parts: [string, string] = [this.#entry(best.pair.left), this.#entry(best.pair.right)];
      merges.push(parts);
      this.#mergeEverywhere(best, this.#idOf(parts.join('')));
    }
    return merges;
  }

  #entry(id: number): string {
    return this.vocabulary[id] ?? '';
  }

  /** Two different pairs may spell the same entry; it has one id. */
  #idOf(entry: string): number {
    const known = this.#ids.get(entry);
    if (known !== undefined) return known;
    this.#ids.set(entry, this.vocabulary.length);
    return this.vocabulary.push(entry) - 1;
  }

  #countPairs(): void {
    const changed: Pair[] = [];
    this.#words.forEach((symbols, word) => {
      for (let at = 0; at + 1 < symbols.length; at++) {
        this.#change(symbols[at] ?? 0, symbols[at + 1] ?? 0, 1, word, changed);
      }
    });
    this.#offer(changed);
  }

  #mergeEverywhere(candidate: Candidate, result: number): void {
    const changed: Pair[] = [];
    for (const word of candidate.words) this.#mergeWord(word, candidate.pair, result, changed);
    this.#offer(changed);
  }

  /** Replaces the pair in one word, left to right, and counts the neighbours that come and go. */
  #mergeWord(word: number, { left, right }: Pair, result: number, changed: Pair[]): void {
    const symbols = this.#words[word] ?? [];
    let written = 0;
    for (let read = 0; read < symbols.length; read++) {
      const symbol = symbols[read] ?? 0;
      if (symbol !== left || symbols[read + 1] !== right) {
        symbols[written++] = symbol;
        continue;
      }
      if (written > 0) {
        const before = symbols[written - 1] ?? 0;
        this.#change(before, left, -1, word, changed);
        this.#change(before, result, 1, word, changed);
      }
      const after = symbols[read + 2];
      if (after !== undefined) {
        this.#change(right, after, -1, word, changed);
        this.#change(result, after, 1, word, changed);
      }
      symbols[written++] = result;
      read++;
    }
    symbols.length = written;
  }

  #change(left: number, right: number, direction: 1 | -1, word: number, changed: Pair[]): void {
    const key = left * STRIDE + right;
    let pair = this.#pairs.get(key);
    if (pair === undefined) {
      pair = { left, right, count: 0, appearedIn: undefined };
      this.#pairs.set(key, pair);
    }
    pair.count += direction * (this.#frequencies[word] ?? 0);
    if (direction === -1) return;
    if (pair.appearedIn === undefined) {
      pair.appearedIn = [word];
      changed.push(pair);
    } else if (pair.appearedIn.at(-1) !== word) pair.appearedIn.push(word);
  }

  #offer(changed: readonly Pair[]): void {
    for (const pair of changed) {
      if (pair.count > 0) this.#candidates.push({ pair, count: pair.count, words: pair.appearedIn ?? [] });
      pair.appearedIn = undefined;
    }
  }
}

function comesFirst(first: Candidate, second: Candidate): boolean {
  if (first.count !== second.count) return first.count > second.count;
  if (first.pair.left !== second.pair.left) return first.pair.left < second.pair.left;
  return first.pair.right < second.pair.right;
}

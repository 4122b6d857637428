import { Heap } from './heap.js';

/** Up to this many symbols scanning beats the heap. */
const SHORT_WORD = 48;

/** More places than a word has; ranks stay below 2^21, so that both fit a double. */
const PLACES = 2 ** 32;

/**
 * The merges of a byte-level BPE over ids: which pair joins, how early, and into what.
 *
 * A pair is one number, `left * stride + right`.
 */
export class MergeTable {
  readonly #ranks: ReadonlyMap<number, number>;
  readonly #results: Int32Array;
  readonly #stride: number;

  /**
   * @param merges pairs of ids with the id they become, first merges first; of equal pairs the last one counts.
   * @param stride more than any id.
   */
  constructor(merges: readonly (readonly [left: number, right: number, result: number])[], stride: number) {
    this.#stride = stride;
    this.#ranks = new Map(merges.map(([left, right], rank) => [left * stride + right, rank]));
    this.#results = Int32Array.from(merges, ([, , result]) => result);
  }

  /** Applies every merge to a word, earliest rank first and leftmost among equals. Changes `symbols` in place. */
  apply(symbols: number[]): number[] {
    return symbols.length <= SHORT_WORD ? this.#applyByScanning(symbols) : this.#applyByHeap(symbols);
  }

  #rank(left: number, right: number): number {
    return this.#ranks.get(left * this.#stride + right) ?? Number.POSITIVE_INFINITY;
  }

  /** Looks for the earliest merge each time: least work for the words that text is made of. */
  #applyByScanning(symbols: number[]): number[] {
    const ranks: number[] = [];
    for (let at = 0; at + 1 < symbols.length; at++)
      ranks.push(this.#rank(symbols[at] ?? 0, symbols[at + 1] ?? 0));
    for (;;) {
      let best = Number.POSITIVE_INFINITY;
      let place = -1;
      for (let at = 0; at < ranks.length; at++) {
        const rank = ranks[at] ?? best;
        if (rank < best) {
          best = rank;
          place = at;
        }
      }
      if (place === -1) return symbols;
      const result = this.#results[best] ?? 0;
      symbols.splice(place, 2, result);
      ranks.splice(place, 1);
      if (place > 0) ranks[place - 1] = this.#rank(symbols[place - 1] ?? 0, result);
      if (place < ranks.length) ranks[place] = this.#rank(result, symbols[place + 1] ?? 0);
    }
  }

  /** Keeps the candidates in a heap: n log n, so that a megabyte without a space takes a second and not a day. */
  #applyByHeap(symbols: number[]): number[] {
    const next = symbols.map((_, at) => at + 1);
    const previous = symbols.map((_, at) => at - 1);
    const alive = new Uint8Array(symbols.length).fill(1);
    // A candidate is one number: its rank above, its place below, so that least means earliest and leftmost.
    const heap = new Heap<number>((first, second) => first < second);
    const offer = (at: number): void => {
      const after = next[at] ?? symbols.length;
      if (at < 0 || after >= symbols.length) return;
      const rank = this.#rank(symbols[at] ?? 0, symbols[after] ?? 0);
      if (rank !== Number.POSITIVE_INFINITY) heap.push(rank * PLACES + at);
    };
    for (let at = 0; at + 1 < symbols.length; at++) offer(at);

    for (let top = heap.pop(); top !== undefined; top = heap.pop()) {
      const rank = Math.floor(top / PLACES);
      const at = top % PLACES;
      const after = next[at] ?? symbols.length;
      // Candidates are not removed when a neighbour merges; such a one no longer spells its rank.
      if (alive[at] === 0 || after >= symbols.length) continue;
      if (this.#rank(symbols[at] ?? 0, symbols[after] ?? 0) !== rank) continue;
      symbols[at] = this.#results[rank] ?? 0;
      alive[after] = 0;
      const following = next[after] ?? symbols.length;
      next[at] = following;
      if (following < symbols.length) previous[following] = at;
      offer(previous[at] ?? -1);
      offer(at);
    }
    return symbols.filter((_, at) => alive[at] === 1);
  }
}

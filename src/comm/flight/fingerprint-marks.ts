import type { CollectiveEntry } from './flight-record.js';

/** What ranks say alike of a collective that they are in together. */
export type Fingerprint = Pick<CollectiveEntry, 'operation' | 'group' | 'dtype' | 'elements' | 'instruction'>;

/**
 * How many collectives back a rank remembers its marks; a power of two. Between the times that two ranks speak there may be
 * so many: in shared memory thousands take a second.
 */
const REMEMBERED = 1 << 15;

/**
 * What a rank had done up to each of its last collectives, in a number: the fingerprints of all so far, drawn together.
 * Ranks compare these, since collectives that only move as many bytes as those of other ranks do not fail by themselves:
 * they add up what does not belong together. It takes a microsecond for each.
 */
export class FingerprintMarks {
  /** Of the collective with number n at place n modulo the length. */
  readonly #hashes = new Uint32Array(REMEMBERED);
  #hash = 0;
  #last = 0;

  /** Notes the next collective. */
  add({ operation, group, dtype, elements, instruction }: Fingerprint): void {
    let hash = hashedNumber(this.#hash ^ 0x81_1c_9d_c5, elements);
    for (const text of [operation, group, dtype, instruction]) hash = hashedText(hash, text);
    this.#hash = hash;
    this.#last += 1;
    this.#hashes[this.#last % REMEMBERED] = hash;
  }

  /**
   * For another rank's `differsFrom`: the newest marks, ever fewer of the older ones. A rank that is ahead has them all, one
   * that is behind has come by one that is not much older than its newest.
   */
  toText(): string {
    const marks: string[] = [];
    for (let back = 0; back < Math.min(this.#last, REMEMBERED); back = 2 * back + 1) {
      const sequence = this.#last - back;
      marks.unshift(`${sequence}:${this.#hashOf(sequence)}`);
    }
    return marks.join(' ');
  }

  /**
   * @param text what another rank's `toText` said
   * @returns a collective up to which the ranks are known to have done different things, if they have: of those that both
   * have marks of, the first
   */
  differsFrom(text: string): number | undefined {
    for (const mark of text.split(' ')) {
      const [sequence = 0, hash] = mark.split(':').map(Number);
      const isKnown = sequence > Math.max(0, this.#last - REMEMBERED) && sequence <= this.#last;
      if (isKnown && hash !== this.#hashOf(sequence)) return sequence;
    }
    return undefined;
  }

  #hashOf(sequence: number): number | undefined {
    return this.#hashes[sequence % REMEMBERED];
  }
}

/** FNV-1a with 32 bits, going on from an earlier one: two that differ do so for ever, if the same follows. */
function hashedNumber(before: number, value: number): number {
  return Math.imul(before ^ value, 0x01_00_01_93) >>> 0;
}

function hashedText(before: number, text: string): number {
  // Its length first, so that texts beside each other do not run together.
  let hash = hashedNumber(before, text.length);
  for (let index = 0; index < text.length; index += 1) hash = hashedNumber(hash, text.charCodeAt(index));
  return hash;
}

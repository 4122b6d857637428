/** Collectives between two marks. */
const EVERY = 32;

/** How many marks a rank remembers: ranks may be so many apart and still be compared. */
const REMEMBERED = 16;

/** What a rank had done up to one of its collectives, in a number. */
interface Mark {
  readonly sequence: number;
  readonly hash: number;
}

/**
 * The fingerprints of all collectives of a rank, drawn together into one number, which is noted now and then. Ranks
 * compare their notes, since collectives that only move as many bytes as those of other ranks do not fail by themselves:
 * they add up what does not belong together.
 */
export class FingerprintMarks {
  #hash = 0;
  #marks: readonly Mark[] = [];

  add(sequence: number, fingerprint: string): void {
    this.#hash = hashed(this.#hash, fingerprint);
    if (sequence % EVERY !== 0) return;
    this.#marks = [...this.#marks, { sequence, hash: this.#hash }].slice(-REMEMBERED);
  }

  /** For another rank's `differsFrom`. */
  toText(): string {
    return this.#marks.map(({ sequence, hash }) => `${sequence}:${hash.toString(16)}`).join(' ');
  }

  /**
   * @param text what another rank's `toText` said
   * @returns the first collective up to which the ranks are known to have done different things, if they have
   */
  differsFrom(text: string): number | undefined {
    const others = new Map(text.split(' ').map((mark) => splitMark(mark)));
    return this.#marks.find(({ sequence, hash }) => {
      const other = others.get(`${sequence}`);
      return other !== undefined && other !== hash.toString(16);
    })?.sequence;
  }
}

function splitMark(mark: string): readonly [sequence: string, hash: string] {
  const [sequence = '', hash = ''] = mark.split(':');
  return [sequence, hash];
}

/** FNV-1a with 32 bits, going on from an earlier one. */
function hashed(before: number, text: string): number {
  let hash = before ^ 0x81_1c_9d_c5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01_00_01_93);
  }
  return hash >>> 0;
}

import { invariant } from '../base/errors.js';

/** Enough for every input bit to reach every output bit, also where the two halves are a few bits wide. */
const ROUNDS = 8;

/**
 * A permutation of 0 … size − 1 drawn from a key, as a function: nothing is stored and nothing is shuffled, so
 * that any place of any epoch can be looked up at once.
 *
 * A Feistel network over two mixed-radix halves (Black and Rogaway 2002, "Ciphers with arbitrary finite
 * domains"). The halves' product is a little more than `size`; an image outside is mapped again until it is
 * inside ("cycle walking"), which keeps it a permutation.
 *
 * @param key any integers; other keys give other permutations.
 */
export function createPermutation(size: number, key: readonly number[]): (index: number) => number {
  invariant(Number.isSafeInteger(size) && size >= 1, `a permutation of ${size}`);
  const high = Math.ceil(Math.sqrt(size));
  const low = Math.ceil(size / high);
  const roundKeys = Array.from({ length: ROUNDS }, (_, round) => hash([...key, round]));

  const permuteOnce = (index: number): number => {
    let first = Math.floor(index / low);
    let second = index % low;
    for (const [round, roundKey] of roundKeys.entries()) {
      if (round % 2 === 0) first = (first + mix(second ^ roundKey)) % high;
      else second = (second + mix(first ^ roundKey)) % low;
    }
    return first * low + second;
  };

  return (index) => {
    invariant(index >= 0 && index < size, `index ${index} of a permutation of ${size}`);
    let image = permuteOnce(index);
    while (image >= size) image = permuteOnce(image);
    return image;
  };
}

/** Folds integers of up to 53 bits into 32. */
function hash(values: readonly number[]): number {
  return values.reduce((state, value) => {
    const lowBits = value >>> 0;
    const highBits = Math.floor(value / 2 ** 32) >>> 0;
    return mix(mix(state ^ lowBits) + 0x9e3779b9 + highBits);
  }, 0x6a09e667);
}

/** The finalizer of MurmurHash3: every bit of the input changes about half of the output's. 32 bits, unsigned. */
function mix(value: number): number {
  let bits = value | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

import { blockwise } from './blockwise.js';

/** A scale of its own costs a block of so many values 1/16 bit each, and keeps layers of different sizes apart. */
const BLOCK_SIZE = 512;
const BITS = 8;

/**
 * The sign of each value times the mean magnitude of its block, the scale of least error: 1 bit an element (1-bit Adam,
 * arXiv 2102.02888; the scale: arXiv 1901.09847). Zero counts as positive. What is lost can be as large as the values,
 * and never larger.
 */
export const oneBit = blockwise({
  blockSize: BLOCK_SIZE,
  feedsBack: true,
  scalesOf: (blocks) => blocks.abs().mean(1),
  payloadBytes: (values) => Math.ceil(values / BITS),
  pack(quotients, payload) {
    const positive = quotients.ge(0).viewAs('uint8');
    payload.zero_();
    for (const [bit, start, length] of eighths(quotients.elements)) {
      payload.narrow(0, 0, length).add_(positive.narrow(0, start, length), { alpha: 2 ** bit });
    }
  },
  unpack(payload, quotients) {
    for (const [bit, start, length] of eighths(quotients.elements)) {
      const positive = payload.narrow(0, 0, length).bitwiseRightShift(bit).bitwiseAnd(1);
      quotients.narrow(0, start, length).copy_(positive);
    }
    quotients.mul_(2).sub_(1);
  },
});

/** Bit k of all bytes holds the signs of the k-th eighth of the values, the last of which may be shorter. */
function eighths(values: number): readonly (readonly [bit: number, start: number, length: number])[] {
  const bytes = Math.ceil(values / BITS);
  return Array.from({ length: BITS }, (_, bit) => {
    const start = Math.min(values, bit * bytes);
    return [bit, start, Math.min(bytes, values - start)];
  });
}

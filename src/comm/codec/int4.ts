import { blockwise } from './blockwise.js';
import type { Codec } from './codec.js';
import { largestQuotient } from './largest-quotient.js';

/**
 * Whole numbers from -7 to 7 times the scale of their block, its largest magnitude / 7: of 4 bits an element, with an
 * error of at most half a scale. A byte holds 16 · a + b, where a is of the first half of a piece and b has the same
 * place in the second.
 */
export function int4(blockSize: number): Codec {
  return blockwise({
    blockSize,
    feedsBack: false,
    scalesOf: largestQuotient(7),
    payloadBytes: (values) => Math.ceil(values / 2),
    pack(quotients, payload) {
      const bytes = payload.elements;
      const rest = quotients.elements - bytes;
      quotients.round_();
      const sums = quotients.narrow(0, 0, bytes).mul_(16);
      sums.narrow(0, 0, rest).add_(quotients.narrow(0, bytes, rest));
      payload.viewAs('int8').copy_(sums);
    },
    unpack(payload, quotients) {
      const sums = payload.viewAs('int8');
      const bytes = sums.elements;
      const rest = quotients.elements - bytes;
      const first = sums.add(8).bitwiseRightShift(4);
      const second = sums.sub(first.mul(16));
      quotients.narrow(0, 0, bytes).copy_(first);
      quotients.narrow(0, bytes, rest).copy_(second.narrow(0, 0, rest));
    },
  });
}

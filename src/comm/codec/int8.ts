import { blockwise } from './blockwise.js';
import type { Codec } from './codec.js';
import { largestQuotient } from './largest-quotient.js';

/**
 * Whole numbers from -127 to 127 times the scale of their block, its largest magnitude / 127: of 8 bits an element, with
 * an error of at most half a scale (DeepSpeed: the symmetric quantizer of ZeRO++, arXiv 2306.10209).
 */
export function int8(blockSize: number): Codec {
  return blockwise({
    blockSize,
    feedsBack: false,
    scalesOf: largestQuotient(127),
    payloadBytes: (values) => values,
    pack: (quotients, payload) => void payload.viewAs('int8').copy_(quotients.round_()),
    unpack: (payload, quotients) => void quotients.copy_(payload.viewAs('int8')),
  });
}

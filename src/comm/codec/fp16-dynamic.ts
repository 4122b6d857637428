import type { Codec } from '../codec.js';
import { FP16_LARGEST } from './fp16.js';

/**
 * fp16 whose range ends just above the largest value: the scale is the largest power of two α with
 * α · maximum ≤ 65504. Nothing becomes infinite that does not round out of fp32 itself, and what is lost as too
 * small is less than 2^-39 of the maximum. Where there is no such power, because all values are zero or one is not finite, it is 1.
 */
export const fp16Dynamic: Codec = {
  dtype: 'float16',
  usesMaximum: true,
  scaleFor(maximum) {
    if (maximum === 0 || !Number.isFinite(maximum)) return 1;
    return 2 ** Math.floor(Math.log2(FP16_LARGEST / maximum));
  },
};

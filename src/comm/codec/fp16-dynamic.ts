import { FP16_LARGEST } from './fp16.js';
import { sixteenBits } from './sixteen-bits.js';

/**
 * fp16 whose range ends just above the largest value, which the ranks agree on. Nothing becomes infinite that does
 * not round out of fp32 itself, and what is lost as too small is less than 2^-39 of the maximum.
 */
export const fp16Dynamic = sixteenBits({
  dtype: 'float16',
  usesMaximum: true,
  scaleFor: largestFittingScale,
});

/**
 * The largest power of two α with α · maximum ≤ 65504. Where there is none, because all values are zero or one is not
 * finite, it is 1.
 */
function largestFittingScale(maximum: number): number {
  if (maximum === 0 || !Number.isFinite(maximum)) return 1;
  return 2 ** Math.floor(Math.log2(FP16_LARGEST / maximum));
}

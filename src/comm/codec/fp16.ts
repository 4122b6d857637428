import { sixteenBits } from './sixteen-bits.js';

/** The largest finite value of fp16. What rounds to more, from 65520 on, becomes infinite. */
export const FP16_LARGEST = 65_504;

/** A plain cast: 11 significant bits from 2^-14 to 65504, steps of 2^-24 below. */
export const fp16 = sixteenBits({ dtype: 'float16', usesMaximum: false, scaleFor: () => 1 });

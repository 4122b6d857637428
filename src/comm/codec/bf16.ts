import { sixteenBits } from './sixteen-bits.js';

/** A plain cast to bfloat16: the range of fp32, with 8 significant bits. */
export const bf16 = sixteenBits({ dtype: 'bfloat16', usesMaximum: false, scaleFor: () => 1 });

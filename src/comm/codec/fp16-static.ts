import type { Codec } from './codec.js';
import { sixteenBits } from './sixteen-bits.js';

/** fp16 with one scale for all values, 2^16 or 2^24 as a rule: its range begins and ends as much lower. */
export function fp16Static(scale: number): Codec {
  return sixteenBits({ dtype: 'float16', usesMaximum: false, scaleFor: () => scale });
}

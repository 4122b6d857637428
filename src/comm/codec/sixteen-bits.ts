import type { DType } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Codec } from './codec.js';
import { forPieces, PIECE_ELEMENTS } from './pieces.js';

export interface SixteenBits {
  readonly dtype: Extract<DType, 'float16' | 'bfloat16'>;
  readonly usesMaximum: boolean;
  /** The factor on the values before they are rounded, by their largest magnitude. */
  readonly scaleFor: (maximum: number) => number;
}

/**
 * Values in 16 bits: multiplied by a scale, rounded to the nearest value of a dtype, and on arrival divided by the
 * scale. What is too large for the dtype arrives as infinite, NaN as NaN, what is less than half of the smallest
 * number as zero.
 */
export function sixteenBits({ dtype, usesMaximum, scaleFor }: SixteenBits): Codec {
  return {
    dtype,
    usesMaximum,
    feedsBack: false,
    messageElements: (values) => values,
    coder(maximum) {
      const scale = scaleFor(maximum);
      return {
        pieceElements: PIECE_ELEMENTS,
        encode(values, message) {
          if (scale === 1) message.copy_(values);
          else
            forPieces(values, PIECE_ELEMENTS, (piece, start) => {
              message.narrow(0, start, piece.elements).copy_(multiply(piece.clone(), scale));
            });
        },
        decodePiece(message, start, target) {
          multiply(target.copy_(message.narrow(0, start, target.elements)), 1 / scale);
        },
      };
    },
  };
}

/** An fp32 scalar reaches from 2^-149 to 2^128, less than scales of tiny gradients need. */
const LARGEST_EXPONENT = 100;

/** In place. A power of two changes no bit of a significand, however large it is. */
function multiply(values: Tensor, factor: number): Tensor {
  const exponent = Math.log2(factor);
  if (exponent === 0) return values;
  if (Math.abs(exponent) <= LARGEST_EXPONENT) return values.mul_(factor);
  const first = 2 ** (Math.sign(exponent) * LARGEST_EXPONENT);
  return values.mul_(first).mul_(factor / first);
}

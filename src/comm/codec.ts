import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { bf16 } from './codec/bf16.js';
import { fp16 } from './codec/fp16.js';
import { fp16Dynamic } from './codec/fp16-dynamic.js';
import { fp16Static } from './codec/fp16-static.js';
import type { ActiveCompression } from './config.js';

/**
 * How fp32 values travel in 16 bits: multiplied by a scale, rounded to the nearest value of a dtype, and on
 * arrival divided by the scale. What is too large for the dtype arrives as infinite, NaN as NaN, what is less
 * than half of the smallest number as zero.
 */
export interface Codec {
  /** The dtype on the wire, two bytes an element. */
  readonly dtype: Extract<DType, 'float16' | 'bfloat16'>;
  /** Whether the scale depends on the values, so that the ranks must agree on their largest magnitude first. */
  readonly usesMaximum: boolean;
  /**
   * The factor on the values before they are rounded.
   *
   * @param maximum no value is larger than this on any rank; infinite where one is not finite
   */
  scaleFor(maximum: number): number;
}

/** The codec that a configuration names. */
export function createCodec(compression: ActiveCompression): Codec {
  switch (compression.type) {
    case 'fp16':
      return fp16;
    case 'fp16-static':
      return fp16Static(compression.scale);
    case 'fp16-dynamic':
      return fp16Dynamic;
    case 'bf16':
      return bf16;
    default:
      return compression satisfies never;
  }
}

/** Puts `values` into `message`, which is of the codec's dtype. The values are scaled in place on the way. */
export function compress(values: Tensor, scale: number, message: Tensor): void {
  message.copy_(multiply(values, scale));
}

/** Puts what a message says into `values`. */
export function decompress(message: Tensor, scale: number, values: Tensor): void {
  multiply(values.copy_(message), 1 / scale);
}

/** An fp32 scalar reaches from 2^-149 to 2^128, less than scales of tiny gradients need. */
const LARGEST_EXPONENT = 100;

/** In place. A power of two changes no bit of a significand, however large it is. */
export function multiply(values: Tensor, factor: number): Tensor {
  const exponent = Math.log2(factor);
  if (exponent === 0) return values;
  if (Math.abs(exponent) <= LARGEST_EXPONENT) return values.mul_(factor);
  const first = 2 ** (Math.sign(exponent) * LARGEST_EXPONENT);
  return values.mul_(first).mul_(factor / first);
}

/** The largest magnitude among the values; infinite where one is infinite or NaN. */
export function largestMagnitude(values: Tensor): number {
  if (values.elements === 0) return 0;
  const [smallest, largest] = values.aminmax();
  const magnitude = Math.max(-smallest.item(), largest.item());
  return Number.isNaN(magnitude) ? Number.POSITIVE_INFINITY : magnitude;
}

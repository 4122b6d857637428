/** How a model stretches its rotary frequencies beyond the length it was first trained on. */
export type RotaryScaling =
  | { readonly kind: 'none' }
  /** Position interpolation (arXiv 2306.15595): every frequency divided by `factor`. */
  | { readonly kind: 'linear'; readonly factor: number }
  /**
   * Llama 3.1's rule: wavelengths above `originalLength / lowFrequencyFactor` are stretched by `factor`, those
   * below `originalLength / highFrequencyFactor` are left alone, those between are blended.
   */
  | {
      readonly kind: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalLength: number;
    };

/** What the rotary angles of a model follow from (RoFormer, arXiv 2104.09864). */
export interface RotaryFrequencies {
  /** Elements of a head; pairs of them turn together, so it is even. */
  readonly headSize: number;
  /** The base of the geometric series of frequencies. */
  readonly theta: number;
  readonly scaling: RotaryScaling;
}

const { fround } = Math;

/**
 * Stretches one frequency (radians per position). Each operation is rounded to fp32 in the order of
 * transformers' modeling_rope_utils.py, because at a far position a single lost bit is a different angle.
 */
export function scaleFrequency(frequency: number, scaling: RotaryScaling): number {
  switch (scaling.kind) {
    case 'none':
      return frequency;
    case 'linear':
      return fround(frequency / scaling.factor);
    case 'llama3':
      return scaleByWavelength(frequency, scaling);
    default:
      return scaling satisfies never;
  }
}

function scaleByWavelength(frequency: number, scaling: RotaryScaling & { readonly kind: 'llama3' }): number {
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalLength } = scaling;
  const wavelength = divideInto(2 * Math.PI, frequency);
  if (wavelength > fround(originalLength / low)) return fround(frequency / factor);
  if (wavelength < fround(originalLength / high)) return frequency;
  const blend = fround(fround(divideInto(originalLength, wavelength) - low) / fround(high - low));
  const stretched = fround(fround(fround(1 - blend) * frequency) / factor);
  return fround(stretched + fround(blend * frequency));
}

/** A number divided by a tensor's element as PyTorch does it: the reciprocal times the number. */
function divideInto(dividend: number, divisor: number): number {
  return fround(fround(1 / divisor) * fround(dividend));
}

import { cat } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import type { RotaryAngles } from './rotary-table.js';

/**
 * Turns each head by the angles of its position (RoFormer, arXiv 2104.09864), the first half of a head against
 * the second as in Hugging Face's Llama.
 *
 * @param heads [rows, length, heads, headSize]
 * @param angles of the positions, each [length, headSize / 2]
 */
export function rotate(heads: Tensor, angles: RotaryAngles): Tensor {
  const cosines = angles.cosines.unsqueeze(1);
  const sines = angles.sines.unsqueeze(1);
  const half = cosines.shape[2] ?? 0;
  const first = heads.narrow(-1, 0, half);
  const second = heads.narrow(-1, half, half);
  return cat([first.mul(cosines).sub(second.mul(sines)), second.mul(cosines).add(first.mul(sines))], -1);
}

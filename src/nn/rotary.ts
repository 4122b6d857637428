import { cat, fusedRotaryAttention } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AttentionOptions, attention } from './attention.js';
import type { RotaryAngles } from './rotary-table.js';
import { splitHeads } from './split-heads.js';

/**
 * Turns each head by the angles of its position (RoFormer, arXiv 2104.09864), the first half of a head against
 * the second as in Hugging Face's Llama.
 *
 * @param heads [rows, length, heads, headSize]
 * @param angles of the positions, each [length, headSize / 2]
 */
export function rotate(heads: Tensor, angles: RotaryAngles): Tensor {
  // Angles are made in fp32 and rounded only here, as transformers does.
  const cosines = angles.cosines.to(heads.dtype).unsqueeze(1);
  const sines = angles.sines.to(heads.dtype).unsqueeze(1);
  const half = cosines.shape[2] ?? 0;
  const first = heads.narrow(-1, 0, half);
  const second = heads.narrow(-1, half, half);
  return cat([first.mul(cosines).sub(second.mul(sines)), second.mul(cosines).add(first.mul(sines))], -1);
}

/**
 * Attention straight from the joint projection of queries, keys and values, the first two turned on the way.
 *
 * @param projected [rows, length, (heads + 2 · keyValueHeads) · headSize]
 * @param angles of the positions, each [length, headSize / 2]
 * @returns [rows, length, heads · headSize]
 */
export function rotaryAttention(
  projected: Tensor,
  angles: RotaryAngles,
  heads: number,
  keyValueHeads: number,
  options: AttentionOptions,
): Tensor {
  const { scale, window, dropout } = options;
  const { cosines, sines } = angles;
  if (dropout === 0) {
    return fusedRotaryAttention(projected, cosines, sines, heads, keyValueHeads, window, scale);
  }
  const [query, key, value] = splitHeads(projected, heads, keyValueHeads);
  return attention(rotate(query, angles), rotate(key, angles), value, options);
}

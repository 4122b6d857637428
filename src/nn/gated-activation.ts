import { fusedSwiglu } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { type Activation, activate } from './activation.js';

/**
 * `activation(gate) · up`, the gated linear unit of Llama's feed-forward (SwiGLU with `silu`, arXiv 2002.05202).
 *
 * @param gateAndUp [..., 2 · features]: the gate's half first
 * @returns [..., features]
 */
export function gatedActivation(gateAndUp: Tensor, activation: Activation): Tensor {
  if (activation === 'silu') return fusedSwiglu(gateAndUp);
  const features = (gateAndUp.shape.at(-1) ?? 0) / 2;
  const gate = gateAndUp.narrow(-1, 0, features);
  const up = gateAndUp.narrow(-1, features, features);
  return activate(gate, activation).mul(up);
}

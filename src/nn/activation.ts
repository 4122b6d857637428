import type { Tensor } from '../tensor/tensor.js';

/** An element-wise non-linearity; `gelu-tanh` is GELU by its tanh approximation (arXiv 1606.08415). */
export type Activation = 'silu' | 'gelu' | 'gelu-tanh' | 'relu';

/** Applies the activation to every element. */
export function activate(input: Tensor, activation: Activation): Tensor {
  switch (activation) {
    case 'silu':
      return input.silu();
    case 'gelu':
      return input.gelu();
    case 'gelu-tanh':
      return input.gelu({ approximate: 'tanh' });
    case 'relu':
      return input.relu();
    default:
      return activation satisfies never;
  }
}

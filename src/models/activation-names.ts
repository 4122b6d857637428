import type { Activation } from '../nn/activation.js';

/**
 * Hugging Face's names of the activations we compute (`ACT2FN` in transformers' activations.py). The tanh
 * approximation of GELU goes by four names there, which differ in how it is evaluated only.
 */
export const ACTIVATION_NAMES: Readonly<Record<string, Activation>> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_new: 'gelu-tanh',
  gelu_pytorch_tanh: 'gelu-tanh',
  gelu_fast: 'gelu-tanh',
  relu: 'relu',
};

import { invariant } from '../base/errors.js';
import type { Activations } from '../nn/block.js';
import type { Tensor } from '../tensor/tensor.js';

/** The residual stream between the blocks of a language model: [rows, length, features]. */
export function hiddenOf(input: Activations): Tensor {
  invariant(input.hidden !== undefined, 'a block was run without the hidden state of the one before it');
  return input.hidden;
}

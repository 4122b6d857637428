import { dropout as atenDropout } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Zeroes each element with the given probability and scales the others so that the mean stays; nothing at all
 * outside training. The mask comes from libtorch's generator, whose state a caller saves to compute it again.
 */
export function dropout(input: Tensor, probability: number, training: boolean): Tensor {
  return training && probability > 0 ? atenDropout(input, probability, true) : input;
}

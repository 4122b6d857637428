import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Reduction } from './process-group.js';

/** Numbers of 16 bits, which several at a time are added up in fp32. */
const HALVES: readonly DType[] = ['float16', 'bfloat16'];

/** So many elements at a time in fp32: 1 MiB. */
const PIECE = 2 ** 18;

/**
 * Makes `target` its sum with other tensors like it, or the largest; a mean is divided later, once.
 *
 * Several messages of 16-bit numbers are added in fp32 and rounded once. Where one message comes after the other,
 * as in a ring, the sum travels in between and is rounded as often as it does.
 */
export function combine(target: Tensor, messages: readonly Tensor[], reduction: Reduction): void {
  if (reduction === 'max') {
    for (const message of messages) target.copy_(target.maximum(message));
  } else if (messages.length > 1 && HALVES.includes(target.dtype)) {
    addInFloat32(target, messages);
  } else {
    for (const message of messages) target.add_(message);
  }
}

function addInFloat32(target: Tensor, messages: readonly Tensor[]): void {
  for (let start = 0; start < target.elements; start += PIECE) {
    const length = Math.min(PIECE, target.elements - start);
    const part = target.narrow(0, start, length);
    const sum = part.to('float32');
    for (const message of messages) sum.add_(message.narrow(0, start, length));
    part.copy_(sum);
  }
}

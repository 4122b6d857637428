import type { Tensor } from '../../tensor/tensor.js';
import type { UpdatePiece } from './update-rule.js';

/** The tensors of all pieces by what they hold, as the fused kernels take them. */
export function columnsOf(pieces: readonly UpdatePiece[]) {
  return {
    parameters: pieces.map(({ parameters }) => parameters),
    gradients: pieces.map(({ gradients }) => gradients),
    copies: pieces.flatMap(({ copy }) => copy ?? []),
    state: (index: number): readonly Tensor[] => pieces.flatMap(({ states }) => states[index] ?? []),
  };
}

import { scope, type Tensor } from '../../tensor/tensor.js';

/**
 * Values are coded so many at a time: the several passes that coding takes stay in a core's cache, and memory beside
 * messages is 64 KiB, and a few times that on the way.
 */
export const PIECE_ELEMENTS = 2 ** 14;

/** Calls `body` for every piece of flat values, the last of which may be shorter, in a tensor scope of its own. */
export function forPieces(
  values: Tensor,
  pieceElements: number,
  body: (piece: Tensor, start: number) => void,
): void {
  const { elements } = values;
  for (let start = 0; start < elements; start += pieceElements) {
    scope(() => body(values.narrow(0, start, Math.min(pieceElements, elements - start)), start));
  }
}

import { TrainyardError } from '../../base/errors.js';
import type { Tensor } from '../../tensor/tensor.js';

/**
 * Refuses a pair of tensors whose sizes do not make one whole and its parts. Gloo would read past the end of
 * some, and hang on others.
 *
 * @param parts how many times `part` goes into `whole`
 * @throws TrainyardError TENSOR_OPERATOR
 */
export function requireLayout(operation: string, whole: Tensor, part: Tensor, parts: number): void {
  if (whole.dtype === part.dtype && whole.elements === part.elements * parts) return;
  throw new TrainyardError('TENSOR_OPERATOR', {
    what: `The tensors of ${operation} do not fit each other.`,
    expected: `one dtype, and ${parts} × the elements of the small tensor in the large one`,
    got: `${describeTensor(whole)} and ${describeTensor(part)}`,
  });
}

/** "float32 [2, 3]" */
export function describeTensor({ dtype, shape }: Tensor): string {
  return `${dtype} [${shape.join(', ')}]`;
}

import { TrainyardError } from '../../base/errors.js';
import type { DType } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Reduction } from '../process-group.js';

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

/**
 * Refuses tensors of which not every rank can have as large a part.
 *
 * @throws TrainyardError TENSOR_OPERATOR
 */
export function requireParts(output: Tensor, input: Tensor, worldSize: number): void {
  requireLayout('allToAll', output, input, 1);
  if (input.elements % worldSize === 0) return;
  throw new TrainyardError('TENSOR_OPERATOR', {
    what: 'allToAll needs a part for each rank, of equal sizes.',
    expected: `a multiple of ${worldSize} elements`,
    got: describeTensor(input),
  });
}

/**
 * Refuses a list of inputs that is not one per rank, each like the output.
 *
 * @throws TrainyardError TENSOR_OPERATOR
 */
export function requireInputs(output: Tensor, inputs: readonly Tensor[], worldSize: number): void {
  for (const input of inputs) requireLayout('reduceScatter', input, output, 1);
  if (inputs.length === worldSize) return;
  throw new TrainyardError('TENSOR_OPERATOR', {
    what: 'reduceScatter needs one input for each rank.',
    expected: `${worldSize} inputs`,
    got: `${inputs.length} inputs`,
  });
}

const FLOATING: readonly DType[] = ['float32', 'float64', 'float16', 'bfloat16'];

/**
 * Refuses the mean of whole numbers.
 *
 * @throws TrainyardError TENSOR_OPERATOR
 */
export function requireDivisible(tensor: Tensor, reduction: Reduction): void {
  if (reduction !== 'mean' || FLOATING.includes(tensor.dtype)) return;
  throw new TrainyardError('TENSOR_OPERATOR', {
    what: 'The mean over ranks needs a floating-point tensor.',
    got: describeTensor(tensor),
  });
}

/**
 * Refuses a rank that the group has not.
 *
 * @throws TrainyardError TENSOR_OPERATOR
 */
export function requireRank(operation: string, rank: number, worldSize: number): void {
  if (Number.isInteger(rank) && rank >= 0 && rank < worldSize) return;
  throw new TrainyardError('TENSOR_OPERATOR', {
    what: `There is no rank ${rank} in a group of ${worldSize}.`,
    where: operation,
  });
}

/** "float32 [2, 3]" */
export function describeTensor({ dtype, shape }: Tensor): string {
  return `${dtype} [${shape.join(', ')}]`;
}

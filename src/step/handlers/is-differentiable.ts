import type { DType } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';

const DIFFERENTIABLE: ReadonlySet<DType> = new Set(['float32', 'float64', 'float16', 'bfloat16']);

/** Whether a tensor's elements are of a type that has gradients. */
export function isDifferentiable({ dtype }: Tensor): boolean {
  return DIFFERENTIABLE.has(dtype);
}

import { applyFunction } from '../tensor/autograd.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TensorAxis } from './tensor-axis.js';

/** The dimension of positions in [rows, length, features]. */
const POSITIONS = 1;

/**
 * From the residual stream to what is divided: every rank gets all positions of a stream of which it has all or its
 * part, and the stream's gradient is the sum over the ranks (f of Megatron-LM, g of its sequence parallelism).
 *
 * @param stream [rows, length, features]
 */
export function enterDivision(stream: Tensor, axis: TensorAxis): Tensor {
  return exchanged(stream, {
    forward: (input) => (axis.sequence ? axis.concatenate(input, POSITIONS) : input),
    backward: (gradient) => (axis.sequence ? axis.scatterSum(gradient, POSITIONS) : axis.sum(gradient)),
  });
}

/**
 * Back to the residual stream: the sum of what the ranks have, or this rank's positions of it.
 *
 * @param part [rows, length, features]
 */
export function leaveDivision(part: Tensor, axis: TensorAxis): Tensor {
  return exchanged(part, {
    forward: (input) => (axis.sequence ? axis.scatterSum(input, POSITIONS) : axis.sum(input)),
    backward: (gradient) => (axis.sequence ? axis.concatenate(gradient, POSITIONS) : gradient),
  });
}

/** The positions that this rank has of the residual stream, of a tensor that has all of them along a dimension. */
export function ownPositions(all: Tensor, dimension: number, axis: TensorAxis | undefined): Tensor {
  if (axis === undefined || !axis.sequence) return all;
  const length = (all.shape[dimension] ?? 0) / axis.size;
  return all.narrow(dimension, axis.rank * length, length);
}

interface Exchange {
  forward(input: Tensor): Tensor;
  backward(gradient: Tensor): Tensor;
}

function exchanged(tensor: Tensor, { forward, backward }: Exchange): Tensor {
  const [output = tensor] = applyFunction(
    {
      forward: ([input]) => ({ outputs: [forward(input)], saved: [] }),
      backward: (_saved, [gradient]) => [gradient ? backward(gradient) : null],
    },
    [tensor] as const,
  );
  return output;
}

import type { ProcessGroup } from '../comm/process-group.js';
import type { TensorAxis } from '../nn/tensor-axis.js';
import { noGrad } from '../tensor/autograd.js';
import { cat, empty } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * An axis of so many ranks, seen from the first, where the others are not there: what they would say is taken to be the
 * same. Shapes are right, values are not.
 */
export function loneAxis(size: number, sequence: boolean): TensorAxis {
  const same = (tensor: Tensor): Tensor => noGrad(() => tensor.clone());
  return {
    rank: 0,
    size,
    sequence,
    sum: same,
    max: same,
    concatenate: (tensor, dimension) =>
      noGrad(() =>
        cat(
          Array.from({ length: size }, () => tensor),
          dimension,
        ),
      ),
    scatterSum: (tensor, dimension) =>
      noGrad(() => tensor.narrow(dimension, 0, (tensor.shape[dimension] ?? 0) / size).clone()),
  };
}

/**
 * The ranks of a process group as the tensor axis of a model's layers.
 *
 * @param sequence between matrices each rank has only its positions
 */
export function groupAxis(group: ProcessGroup, sequence: boolean): TensorAxis {
  const { rank, worldSize: size } = group;
  const reduced = (tensor: Tensor, reduction: 'sum' | 'max'): Tensor =>
    noGrad(() => {
      const result = tensor.clone().contiguous();
      group.allReduce(result, reduction).wait();
      return result;
    });
  return {
    rank,
    size,
    sequence,
    sum: (tensor) => reduced(tensor, 'sum'),
    max: (tensor) => reduced(tensor, 'max'),
    concatenate: (tensor, dimension) =>
      noGrad(() => {
        const { shape, dtype, device } = tensor;
        const all = empty([size, ...shape], { dtype, device });
        group.allGather(all, tensor.contiguous()).wait();
        return cat(
          Array.from({ length: size }, (_, other) => all.select(0, other)),
          dimension,
        );
      }),
    scatterSum: (tensor, dimension) =>
      noGrad(() => {
        const length = (tensor.shape[dimension] ?? 0) / size;
        const parts = Array.from({ length: size }, (_, other) =>
          tensor.narrow(dimension, other * length, length).contiguous(),
        );
        const own = (parts[rank] ?? tensor).clone();
        group.reduceScatter(own, parts, 'sum').wait();
        return own;
      }),
  };
}

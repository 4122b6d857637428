import { noGrad } from './autograd.js';
import { callOperator } from './call-operator.js';
import type { Device } from './dtype.js';
import { empty } from './generated/functions.js';
import type { Tensor } from './tensor.js';

/**
 * A copy of a tensor in host memory, laid out like it. That of a tensor on a GPU lies on locked pages, and the GPU
 * writes it when its turn comes among all else that was asked of it: nobody waits, and only what the GPU does
 * later may read it.
 */
export function copyToHost(tensor: Tensor): Tensor {
  const pinMemory = tensor.device !== 'cpu';
  return noGrad(() => tensor.emptyLike({ device: 'cpu', pinMemory }).copy_(tensor, true));
}

/** A copy on a device of what `copyToHost` made. A GPU reads it when its turn comes. */
export function copyToDevice(copy: Tensor, device: Device): Tensor {
  return noGrad(() => copy.emptyLike({ device, pinMemory: false }).copy_(copy, true));
}

/**
 * Takes the memory from under a tensor, which stays a node of autograd's graph and is otherwise empty until
 * `replaceMemory`. What others have in common with it, a graph that has kept it or a tensor it is a view of, keeps
 * its memory.
 */
export function dropMemory(tensor: Tensor): void {
  replaceMemory(tensor, empty([0], { dtype: tensor.dtype, device: tensor.device }));
}

/** Puts the memory and the shape of `source` under a tensor, whose place in autograd's graph stays. */
export function replaceMemory(tensor: Tensor, source: Tensor): void {
  callOperator('aten::set_data', tensor, source);
}

import type { ProcessGroup } from '../comm/process-group.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';

/** One number of each rank, in their order, known to all. Every rank must call it. */
export function gatherNumbers(group: ProcessGroup, value: number): readonly number[] {
  return scope(() => {
    const own = zeros([1], { dtype: 'float64' }).fill_(value);
    const all = zeros([group.worldSize], { dtype: 'float64' });
    group.allGather(all, own).wait();
    return all.toArray();
  });
}

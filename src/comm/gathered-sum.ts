import { noGrad } from '../tensor/autograd.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import type { ProcessGroup } from './process-group.js';
import type { Work } from './work.js';

/**
 * Starts the sum of a few numbers over all ranks, in place and in the order of ranks: everybody tells everybody,
 * which is one message between two ranks where an all-reduce has two.
 */
export function gatheredSum(group: Pick<ProcessGroup, 'worldSize' | 'allGather'>, values: Tensor): Work {
  const { dtype, device, elements } = values;
  const target = keep(values.alias());
  const all = keep(noGrad(() => empty([group.worldSize * elements], { dtype, device })));
  const gathered = group.allGather(all, values);
  return {
    wait: () => {
      if (all.isFreed) return;
      gathered.wait();
      scope(() =>
        noGrad(() => {
          target.zero_();
          for (let rank = 0; rank < group.worldSize; rank += 1) {
            target.add_(all.narrow(0, rank * elements, elements));
          }
        }),
      );
      for (const each of [target, all]) each.dispose();
    },
  };
}

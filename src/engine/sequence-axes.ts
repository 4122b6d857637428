import type { ProcessGroup } from '../comm/process-group.js';
import type { SequenceAxis } from '../nn/sequence-axis.js';
import { noGrad } from '../tensor/autograd.js';

/** The ranks of a process group as those that work on the same sequences. */
export function groupSequenceAxis(group: ProcessGroup): SequenceAxis {
  return {
    rank: group.rank,
    size: group.worldSize,
    exchange: (parts) =>
      noGrad(() => {
        const input = parts.contiguous();
        const output = input.emptyLike();
        group.allToAll(output, input).wait();
        return output;
      }),
  };
}

/** So many ranks seen from the first, where the others are not there: shapes are right, values are not. */
export function loneSequenceAxis(size: number): SequenceAxis | undefined {
  if (size === 1) return undefined;
  return { rank: 0, size, exchange: (parts) => noGrad(() => parts.clone().contiguous()) };
}

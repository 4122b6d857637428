import type { ProcessGroup } from '../comm/process-group.js';
import { OptimizerGroup } from '../optim/optimizer-group.js';
import { noGrad } from '../tensor/autograd.js';
import { zeros } from '../tensor/generated/functions.js';
import { keep } from '../tensor/tensor.js';
import { sliceOf } from '../zero/partition.js';
import type { ResolvedConfig } from './config.js';
import type { TrainingMemory } from './training-memory.js';

/**
 * The optimizer over what a rank owns. Where ranks exchange a momentum, every rank has all of it, whatever it owns: its
 * own gradients are of everything.
 */
export function openOptimizer(
  config: ResolvedConfig['optimizer'],
  memory: TrainingMemory,
  group: Pick<ProcessGroup, 'rank' | 'allocate'>,
): OptimizerGroup {
  if (config.type !== 'OneBitAdam') return new OptimizerGroup(config, memory.pieces);
  const { partition, pieces, parameters } = memory;
  const { device } = parameters.values;
  const place = partition.ranks === 1 ? 0 : group.rank;
  return noGrad(() => {
    const elements = parameters.layout.trainableElements;
    const momentum = keep(
      device === 'cpu' ? group.allocate(elements, 'float32') : zeros([elements], { device }),
    );
    const placed = pieces.map((piece, range) => {
      const { start, end } = sliceOf(partition, range, place);
      return { ...piece, momentum: momentum.narrow(0, start, end - start) };
    });
    return new OptimizerGroup(config, placed, momentum);
  });
}

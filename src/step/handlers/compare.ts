import { invariant } from '../../base/errors.js';
import { tensor as makeTensor } from '../../tensor/create.js';
import { zeros } from '../../tensor/generated/functions.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import { membersOf, type Program } from '../program.js';
import type { ReplicaDrift, StepState } from './step-state.js';

/**
 * `compare`: every rank learns of the others' loss and votes, and from what each has measured on its slice how far every
 * replica was from the mean of all.
 */
export function compare(program: Program, state: StepState): Handlers['compare'] {
  const { group } = state.resources;
  const ranks = membersOf(program, 'replicas').length;
  return (instruction) => {
    const { metrics, distances } = state;
    invariant(group && metrics && distances, 'replicas are compared after they were merged');
    const vote = state.inputs.votesToStop ? 1 : 0;
    const own = Float64Array.of(
      metrics.loss * metrics.tokens,
      metrics.tokens,
      vote,
      distances.mean,
      ...distances.differences,
    );
    const all = zeros([ranks * own.length], { dtype: 'float64' });
    const work = group.allGather(all, makeTensor(own));
    const finish = (): void => {
      work.wait();
      const values = all.toArray();
      const sums = Array.from(own, (_, item) =>
        values.reduce((sum, value, index) => (index % own.length === item ? sum + value : sum), 0),
      );
      const [lossSum = 0, tokens = 0, stopVotes = 0, mean = 0, ...differences] = sums;
      const loss = tokens === 0 ? 0 : lossSum / tokens;
      state.metrics = { ...metrics, loss, stopVotes, drift: driftOf(mean, differences) };
    };
    state.started.put({ tensors: [keep(all)], work: { wait: finish } }, startName(instruction));
  };
}

/** From sums of squares over all weights: of the mean, and of each replica's difference to it. */
function driftOf(mean: number, differences: readonly number[]): ReplicaDrift {
  const relative = differences.map((each) => (mean === 0 ? 0 : Math.sqrt(each / mean)));
  return {
    mean: relative.reduce((sum, each) => sum + each, 0) / relative.length,
    max: Math.max(...relative),
  };
}

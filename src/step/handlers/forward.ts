import type { Activations, MicroBatch } from '../../nn/block.js';
import type { GradientMemory } from '../../nn/flat-parameters.js';
import { noGrad } from '../../tensor/autograd.js';
import type { Handlers } from '../executor.js';
import { runBlock, runBlockWithoutGraph } from './run-block.js';
import type { StepState } from './step-state.js';

/** The label of a position without a target, as in PyTorch's cross-entropy. */
const IGNORED_LABEL = -100;

/** `forward`: runs one block, and keeps both ends of its graph or its output alone. */
export function forward(state: StepState): Handlers['forward'] {
  const { onOutput } = state.inputs;
  return ({ block, micro, drop = false }) => {
    const record = drop ? runBlockWithoutGraph(state, block, micro) : runBlock(state, block, micro);
    state.forwards.put(record, block, micro);
    if (state.isLast(block)) noGrad(() => count(state.gradients, record.output, state.batches.get(micro)));
    onOutput?.(block, micro, record.output);
  };
}

/** Adds loss and target tokens to the tally. Neither is read here, so that a device need not be waited for. */
function count({ tally }: GradientMemory, { loss }: Activations, { labels }: MicroBatch): void {
  if (loss === undefined || labels === undefined) return;
  tally.select(0, 0).add_(loss);
  tally.select(0, 1).add_(labels.ne(IGNORED_LABEL).sum());
}

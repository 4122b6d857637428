import type { Activations, MicroBatch } from '../../nn/block.js';
import type { GradientMemory } from '../../nn/flat-parameters.js';
import { enableGrad, noGrad } from '../../tensor/autograd.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { StepState } from './step-state.js';

/** The label of a position without a target, as in PyTorch's cross-entropy. */
const IGNORED_LABEL = -100;

/**
 * `forward`: runs one block on detached inputs, so that autograd's graph is that of the block alone, and
 * keeps both ends of it.
 */
export function forward(state: StepState): Handlers['forward'] {
  const { lossScale, training, wantLogits = false, onOutput } = state.inputs;
  return (instruction) => {
    const { block, parameters } = state.block(instruction.block);
    const { micro } = instruction;
    const batch = state.batches.get(micro);
    const input =
      instruction.block === 0 ? {} : detach(state.forwards.get(instruction.block - 1, micro).output);
    const context = { batch, lossScale, training, wantLogits };
    const output = enableGrad(() => block.forward(parameters, input, context));
    for (const tensor of Object.values(output)) keep(tensor);
    state.forwards.put({ input, output }, instruction.block, micro);
    if (state.isLast(instruction.block)) noGrad(() => count(state.gradients, output, batch));
    onOutput?.(instruction.block, micro, output);
  };
}

/** The same values at the start of a graph of their own, wanting gradients where the originals do. */
function detach(activations: Activations): Activations {
  const entries = Object.entries(activations).map(([name, tensor]) => {
    const leaf = keep(tensor.detach());
    if (tensor.requiresGrad) leaf.requiresGrad = true;
    return [name, leaf] as const;
  });
  return Object.fromEntries(entries);
}

/** Adds loss and target tokens to the tally. Neither is read here, so that a device need not be waited for. */
function count({ tally }: GradientMemory, { loss }: Activations, { labels }: MicroBatch): void {
  if (loss === undefined || labels === undefined) return;
  tally.select(0, 0).add_(loss);
  tally.select(0, 1).add_(labels.ne(IGNORED_LABEL).sum());
}

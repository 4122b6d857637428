import type { Activations } from '../../nn/block.js';
import { enableGrad, noGrad } from '../../tensor/autograd.js';
import { randomState } from '../../tensor/random.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import { isDifferentiable } from './is-differentiable.js';
import type { ForwardRecord, StepState } from './step-state.js';

/** Runs one block on detached inputs, so that autograd's graph is that of the block alone, and keeps both its ends. */
export function runBlock(state: StepState, index: number, micro: number): ForwardRecord {
  const input = leavesOf(inputOf(state, index, micro), ({ requiresGrad }) => requiresGrad);
  const output = enableGrad(() => forwardOf(state, index, micro, input));
  // Only now: what a forward that throws has made goes with the scope of its instruction.
  for (const tensor of [...Object.values(input), ...Object.values(output)]) keep(tensor);
  return { input, output };
}

/**
 * Runs one block for its output alone. The next block must see the same as after `runBlock`: an output that
 * wants a gradient where one could reach a trainable parameter.
 */
export function runBlockWithoutGraph(state: StepState, index: number, micro: number): ForwardRecord {
  const { device } = state.batches.get(micro).inputIds;
  const before = randomState(device);
  const input = inputOf(state, index, micro);
  const result = noGrad(() => forwardOf(state, index, micro, input));
  const wantsGradient = state.trains(index) || Object.values(input).some(({ requiresGrad }) => requiresGrad);
  // Handles of their own: a block may pass on what it was given.
  const output = leavesOf(result, () => wantsGradient);
  for (const tensor of Object.values(output)) keep(tensor);
  const drewRandomNumbers = Buffer.compare(before, randomState(device)) !== 0;
  return { input: {}, output, ...(drewRandomNumbers && { randomState: before }) };
}

function forwardOf(state: StepState, index: number, micro: number, input: Activations): Activations {
  const { block, parameters } = state.block(index);
  const { lossScale, training, wantLogits = false } = state.inputs;
  const { sequenceAxis } = state.resources;
  const batch = state.batches.get(micro);
  const context = { batch, lossScale, training, wantLogits };
  return block.forward(parameters, input, { ...context, ...(sequenceAxis && { sequenceAxis }) });
}

function inputOf(state: StepState, index: number, micro: number): Activations {
  return index === 0 ? {} : state.forwards.get(index - 1, micro).output;
}

/** The same values at the start of a graph of their own, wanting gradients where they are asked to and can. */
function leavesOf(activations: Activations, wantsGradient: (tensor: Tensor) => boolean): Activations {
  const entries = Object.entries(activations).map(([name, tensor]) => {
    const leaf = tensor.detach();
    if (isDifferentiable(tensor) && wantsGradient(tensor)) leaf.requiresGrad = true;
    return [name, leaf] as const;
  });
  return Object.fromEntries(entries);
}

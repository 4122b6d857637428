import type { Activations } from '../../nn/block.js';
import { backward as runBackward } from '../../tensor/autograd.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { disposeAll, type StepState } from './step-state.js';

/**
 * `backward`: autograd through one block, from the gradients of its outputs (of the last block: from its
 * loss) into the flat gradient buffer and to the gradients of its inputs. Then the graph and both its ends
 * are freed.
 */
export function backward(state: StepState): Handlers['backward'] {
  return ({ block, micro }) => {
    const { input, output } = state.forwards.get(block, micro);
    const arriving = state.isLast(block) ? undefined : state.outputGradients.get(block, micro);

    const roots = Object.entries(output).filter(
      ([name, tensor]) =>
        (arriving === undefined ? name === 'loss' : name in arriving) && tensor.requiresGrad,
    );
    if (roots.length > 0) {
      runBackward(
        roots.map(([, tensor]) => tensor),
        roots.map(([name]) => arriving?.[name] ?? null),
      );
    }

    if (block > 0) state.outputGradients.put(gradientsOf(input), block - 1, micro);
    // Only now: a backward that throws leaves to the step what is to be freed.
    state.forwards.take(block, micro);
    if (arriving !== undefined) disposeAll(state.outputGradients.take(block, micro));
    disposeAll(input);
    disposeAll(output);
    if (block === 0) disposeAll({ ...state.batches.take(micro) });
  };
}

/** The gradients that autograd left at the inputs; an input that nothing used has none. */
function gradientsOf(input: Activations): Activations {
  const entries = Object.entries(input).flatMap(([name, tensor]) => {
    const gradient = tensor.grad;
    return gradient === undefined ? [] : [[name, keep(gradient)] as const];
  });
  return Object.fromEntries(entries);
}

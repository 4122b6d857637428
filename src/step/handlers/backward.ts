import type { Activations } from '../../nn/block.js';
import { backward as runBackward } from '../../tensor/autograd.js';
import { deferProducts } from '../../tensor/deferred-products.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { Instruction } from '../instruction.js';
import type { Program } from '../program.js';
import { isInputReceived, stageBlocks } from '../stage-blocks.js';
import { disposeAll, type StepState } from './step-state.js';

/**
 * `backward`: autograd through one block, from the gradients of its outputs (of the last block: from its
 * loss) into the flat gradient buffer and to the gradients of its inputs. Then the graph and both its ends
 * are freed. The half for the input does all of this but the products for weights, which are those of the other half.
 */
export function backward(program: Program, state: StepState): Handlers['backward'] {
  return ({ block, micro, half }) => {
    if (half === 'weights') {
      state.deferred.get(block, micro).add();
      state.deferred.take(block, micro);
      return;
    }
    if (half === 'input') {
      const products = deferProducts(() => intoGradients(state, block, micro));
      state.deferred.put(products, block, micro);
    } else {
      intoGradients(state, block, micro);
    }
    finish(program, state, { block, micro });
  };
}

/** Leaves the gradients of the inputs at these. */
function intoGradients(state: StepState, block: number, micro: number): void {
  const { output } = state.forwards.get(block, micro);
  const arriving = state.isLast(block) ? undefined : state.outputGradients.get(block, micro);
  const roots = Object.entries(output).filter(
    ([name, tensor]) => (arriving === undefined ? name === 'loss' : name in arriving) && tensor.requiresGrad,
  );
  if (roots.length === 0) return;
  runBackward(
    roots.map(([, tensor]) => tensor),
    roots.map(([name]) => arriving?.[name] ?? null),
  );
}

/** Hands the gradients of the inputs on and frees all else: only now, since a backward that throws leaves that to the step. */
function finish(
  program: Program,
  state: StepState,
  { block, micro }: Pick<Instruction<'backward'>, 'block' | 'micro'>,
): void {
  const { input, output } = state.forwards.get(block, micro);
  const isSent = isInputReceived(block, program);
  if (block > 0) state.outputGradients.put(gradientsOf(input, isSent), block - 1, micro);
  state.forwards.take(block, micro);
  if (!state.isLast(block)) disposeAll(state.outputGradients.take(block, micro));
  disposeAll(input);
  disposeAll(output);
  if (isSent) disposeAll(state.forwards.take(block - 1, micro).output);
  if (block === stageBlocks(program)[0]) disposeAll({ ...state.batches.take(micro) });
}

/**
 * The gradients that autograd left at the inputs; an input that nothing used has none. Another stage cannot know and
 * waits for all of them: there they are zeros.
 */
function gradientsOf(input: Activations, areAllWanted: boolean): Activations {
  const entries = Object.entries(input).flatMap(([name, tensor]) => {
    const gradient = tensor.grad ?? (areAllWanted && tensor.requiresGrad ? tensor.zerosLike() : undefined);
    return gradient === undefined ? [] : [[name, keep(gradient)] as const];
  });
  return Object.fromEntries(entries);
}

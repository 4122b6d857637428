import type { Activations } from '../../nn/block.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { Handed } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { stageOfRank } from '../stage-blocks.js';
import { isDifferentiable } from './is-differentiable.js';
import { inOrder, type StepState } from './step-state.js';

/**
 * `receive`: what another stage sends, into new tensors. An output then stands where that of the block before would:
 * all that can have gradients want them, since only the other stage knows whether there is something to train.
 */
export function receive(program: Program, state: StepState): Handlers['receive'] {
  return (instruction) => {
    const { group } = state.stages;
    const peer = stageOfRank(instruction.peer, program);
    const arriving = expected(state, instruction);
    for (const [, tensor] of arriving) keep(tensor);
    put(state, instruction, Object.fromEntries(arriving));
    const works = arriving.map(([, tensor]) => group.receive(tensor, peer));
    const finish = (): void => {
      for (const work of works) work.wait();
      if (instruction.memory === 'gradient') return;
      for (const [, tensor] of arriving) if (isDifferentiable(tensor)) tensor.requiresGrad = true;
    };
    state.started.put({ tensors: [], work: { wait: finish } }, startName(instruction));
  };
}

/** Memory for what comes, in the order in which it comes. */
function expected(state: StepState, { memory, block, micro }: Handed): ReturnType<typeof inOrder> {
  const output = inOrder(state.stages.emptyOutput(block, state.batches.get(micro)));
  return memory === 'output' ? output : output.filter(([, tensor]) => isDifferentiable(tensor));
}

function put(state: StepState, { memory, block, micro }: Handed, tensors: Activations): void {
  if (memory === 'output') state.forwards.put({ input: {}, output: tensors }, block, micro);
  else state.outputGradients.put(tensors, block, micro);
}

import type { Activations } from '../../nn/block.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { Handed } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { stageOfRank } from '../stage-blocks.js';
import { disposeAll, inOrder, type StepState } from './step-state.js';

/**
 * `send`: the tensors of an output, or of its gradient, to another stage, in the order of their names. A gradient is
 * freed at the wait.
 */
export function send(program: Program, state: StepState): Handlers['send'] {
  return (instruction) => {
    const { group } = state.stages;
    const peer = stageOfRank(instruction.peer, program);
    const tensors = inOrder(handedOver(state, instruction)).map(([, tensor]) =>
      keep(tensor.detach().contiguous()),
    );
    const works = tensors.map((tensor) => group.send(tensor, peer));
    const finish = (): void => {
      for (const work of works) work.wait();
      const { memory, block, micro } = instruction;
      if (memory === 'gradient') disposeAll(state.outputGradients.take(block, micro));
    };
    state.started.put({ tensors, work: { wait: finish } }, startName(instruction));
  };
}

function handedOver(state: StepState, { memory, block, micro }: Handed): Activations {
  switch (memory) {
    case 'output':
      return state.forwards.get(block, micro).output;
    case 'gradient':
      return state.outputGradients.get(block, micro);
    default:
      return memory satisfies never;
  }
}

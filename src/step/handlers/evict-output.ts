import type { Activations } from '../../nn/block.js';
import { copyToHost, dropMemory } from '../../tensor/host-memory.js';
import { keep } from '../../tensor/tensor.js';
import type { Instruction, MovedOutput } from '../instruction.js';
import { startName } from '../instruction-text.js';
import { isDifferentiable } from './is-differentiable.js';
import type { StepState } from './step-state.js';

/**
 * `evict` of an output: copies the output of a block to host memory, and at its wait takes the memory on the device from under
 * it. The output itself stays: where its block has kept a graph, it is what backward begins at. As in DeepSpeed
 * (`is_activation_to_checkpoint`) only floating-point tensors move; indices are small, and mostly the batch's.
 */
export function evictOutput(state: StepState) {
  return (instruction: Instruction<'evict'> & MovedOutput): void => {
    const { block, micro } = instruction;
    const { output } = state.forwards.get(block, micro);
    const moved = Object.entries(output).filter(([, tensor]) => isDifferentiable(tensor));
    const copies: Activations = Object.fromEntries(
      moved.map(([name, tensor]) => [name, copyToHost(tensor)] as const),
    );
    for (const copy of Object.values(copies)) keep(copy);
    state.evicted.put(copies, block, micro);
    const finish = (): void => {
      for (const [, tensor] of moved) dropMemory(tensor);
    };
    state.started.put({ tensors: [], work: { wait: finish } }, startName(instruction));
  };
}

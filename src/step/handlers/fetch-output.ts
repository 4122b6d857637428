import { invariant } from '../../base/errors.js';
import { copyToDevice, replaceMemory } from '../../tensor/host-memory.js';
import { keep } from '../../tensor/tensor.js';
import type { Instruction, MovedOutput } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { StepState } from './step-state.js';

/** `fetch` of an output: copies what was evicted back to the device, and at its wait puts it under the output that it was. */
export function fetchOutput(state: StepState) {
  return (instruction: Instruction<'fetch'> & MovedOutput): void => {
    const { block, micro } = instruction;
    const { output } = state.forwards.get(block, micro);
    const { device } = state.batches.get(micro).inputIds;
    const copies = state.evicted.get(block, micro);
    const arriving = Object.entries(copies).map(
      ([name, copy]) => [name, copyToDevice(copy, device)] as const,
    );
    for (const [, tensor] of arriving) keep(tensor);
    state.evicted.take(block, micro);
    const finish = (): void => {
      for (const [name, tensor] of arriving) {
        const emptied = output[name];
        invariant(emptied, `block ${block} has no output ${name} to put back what was evicted`);
        replaceMemory(emptied, tensor);
      }
    };
    const tensors = [...Object.values(copies), ...arriving.map(([, tensor]) => tensor)];
    state.started.put({ tensors, work: { wait: finish } }, startName(instruction));
  };
}

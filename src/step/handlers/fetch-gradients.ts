import { invariant } from '../../base/errors.js';
import { empty } from '../../tensor/generated/functions.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import type { FetchedGradients, Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { ownElements } from '../sharding.js';
import type { StepState } from './step-state.js';

/** `fetch` of gradients: reads the sum so far of this rank's slice, for backward or the next eviction to add to. */
export function fetchGradients(program: Program, state: StepState) {
  return (instruction: Instruction<'fetch'> & FetchedGradients): void => {
    const { block, continues = false } = instruction;
    const store = state.offloaded.gradients[block];
    invariant(store, `there are no gradients of block ${block} to fetch`);
    const target = continues ? state.resources.parameters.allocateGradients(block) : earlierSlice(block);
    state.started.put(
      { tensors: [], work: store.read(target, 0), keepsMemory: true },
      startName(instruction),
    );
  };

  function earlierSlice(block: number): Tensor {
    const { device, dtype } = state.gradients.buffer;
    const earlier = keep(empty([ownElements(block, program)], { dtype, device }));
    state.earlierGradients.put(earlier, block);
    return earlier;
  }
}

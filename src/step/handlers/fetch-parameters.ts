import { invariant } from '../../base/errors.js';
import { keep } from '../../tensor/tensor.js';
import type { FetchedParameters, Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { dataPlace, ownElements } from '../sharding.js';
import { sameMemory } from './same-memory.js';
import type { StepState } from './step-state.js';

/** `fetch` of parameters: gives a block memory and reads this rank's slice into its place there. */
export function fetchParameters(program: Program, state: StepState) {
  const { parameters } = state.resources;
  return (instruction: Instruction<'fetch'> & FetchedParameters): void => {
    const { block } = instruction;
    const store = state.offloaded.parameters[block];
    invariant(store, `block ${block} is fetched, and its parameters are in memory`);
    const whole = sameMemory(parameters.allocateValues(block));
    const elements = ownElements(block, program);
    const own = keep(whole.narrow(0, dataPlace(program) * elements, elements));
    state.started.put(
      { tensors: [own], work: store.read(own, 0), keepsMemory: true },
      startName(instruction),
    );
  };
}

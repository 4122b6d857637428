import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import { keep } from '../../tensor/tensor.js';
import type { EvictedGradients, Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { dataPlace, ownElements } from '../sharding.js';
import { countedSquares } from './counted-squares.js';
import type { StepState } from './step-state.js';

/**
 * `evict` of gradients: writes this rank's slice of the sum to its tier, with what earlier micro-batches left there
 * added to it. The norm is measured on the way, since later it would have to be read for that.
 */
export function evictGradients(program: Program, state: StepState) {
  const { parameters } = state.resources;
  return (instruction: Instruction<'evict'> & EvictedGradients): void => {
    const { block, adds = false } = instruction;
    const store = state.offloaded.gradients[block];
    const { gradients } = parameters.memoryOf(block);
    invariant(store && gradients, `there are no gradients of block ${block} to evict`);
    const elements = ownElements(block, program);
    const place = dataPlace(program) * elements;
    const own = keep(gradients.narrow(0, place, elements));
    if (adds) {
      noGrad(() => own.add_(state.earlierGradients.get(block)));
      state.earlierGradients.take(block).dispose();
    }
    const start = (program.sharding?.ranges[block]?.start ?? 0) + place;
    state.squares.set(block, countedSquares(own, start, parameters.layout));
    state.started.put(
      { tensors: [own], work: store.write(own, 0), keepsMemory: true },
      startName(instruction),
    );
  };
}

import { invariant } from '../../base/errors.js';
import { createCodec } from '../../comm/codec.js';
import { compressedGather } from '../../comm/compressed-gather.js';
import { finishedWork } from '../../comm/work.js';
import { noGrad } from '../../tensor/autograd.js';
import { keep } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { dataPlace, isFetched, isOffloaded, ownElements } from '../sharding.js';
import { sameMemory } from './same-memory.js';
import type { StepState } from './step-state.js';

/**
 * `gather`: all ranks' slices of a block into its memory, which is allocated where it was released. Weights that
 * are kept in fp32 become 16 bits on this way, before they travel; compressed ones become what their code says, on all
 * ranks alike, their owner included.
 */
export function gather(program: Program, state: StepState): Handlers['gather'] {
  const { group, parameters, momentum, secondary } = state.resources;
  return (instruction) => {
    const { block } = instruction;
    const name = startName(instruction);
    const elements = ownElements(block, program);
    const start = dataPlace(program) * elements;
    invariant(group, `a program of one rank gathers block ${block}`);
    if (instruction.of === 'momentum') {
      const range = program.sharding?.ranges[block];
      invariant(momentum && range, 'there is no momentum to gather');
      const tensor = momentum.narrow(0, range.start, range.end - range.start);
      const own = tensor.narrow(0, start, elements);
      state.started.put({ tensors: [keep(tensor)], work: group.allGather(tensor, own) }, name);
      return;
    }
    if (instruction.from === 'secondary') {
      invariant(secondary, 'a block is gathered from a second copy where there is one');
      const tensor = sameMemory(parameters.allocateValues(block));
      const elements = tensor.elements / secondary.group.worldSize;
      const own = tensor.narrow(0, secondary.group.rank * elements, elements);
      noGrad(() => own.copy_(secondary.sliceOf(block, elements)));
      const work = secondary.group.allGather(tensor, own);
      state.started.put({ tensors: [keep(tensor)], work }, name);
      return;
    }
    const isThere = program.sharding?.parameters === 'kept' || isFetched(block, program);
    const whole = isThere ? parameters.memoryOf(block).values : parameters.allocateValues(block);
    // A graph that has kept them finds the same values again.
    const tensor = sameMemory(whole);
    const own = tensor.narrow(0, start, elements);
    const slice = isFetched(block, program) ? own : state.shards.values[block];
    invariant(slice, `there is no slice of block ${block} to gather`);
    if (instruction.compression !== undefined) {
      const codec = createCodec(instruction.compression);
      state.started.put(
        { tensors: [keep(tensor)], work: compressedGather(group, tensor, slice, codec) },
        name,
      );
      return;
    }
    if (!isInPlace(program, block)) noGrad(() => own.copy_(slice));
    const work = elements === tensor.elements ? finishedWork : group.allGather(tensor, own);
    state.started.put({ tensors: [keep(tensor)], work }, name);
  };
}

/** Whether the own slice is in the block's memory, as blocks compute with it. */
function isInPlace(program: Program, block: number): boolean {
  const { sharding, precision } = program;
  if (isFetched(block, program)) return true;
  // An optimizer that has its weights in another tier writes what blocks compute with itself.
  return (
    sharding?.parameters === 'kept' && (precision === undefined || isOffloaded('optimizer', block, program))
  );
}

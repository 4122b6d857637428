import type { EvictedGradients, FetchedGradients, Instruction } from '../step/instruction.js';
import type { Pass } from '../step/program.js';
import { isOffloaded } from '../step/sharding.js';

type Release = Extract<Instruction<'release'>, { memory: 'gradients' }>;

/** An eviction that is on its way, and the release of the memory that it reads. */
interface Leaving {
  readonly evict: Instruction<'evict'> & EvictedGradients;
  readonly release: Release;
}

/**
 * Once a block's gradients are summed, this rank's slice goes to its tier, with what earlier micro-batches have left
 * there added to it. The next block's backward runs under that: memory is released when the slice of the next is
 * ready to go, when it is wanted again, or when the ranks agree on the norm.
 */
export const evictGradients: Pass = (program) => {
  const earlier = new Map<number, number>();
  const instructions: Instruction[] = [];
  let leaving: Leaving | undefined;
  const settle = (): void => {
    if (leaving === undefined) return;
    instructions.push({ op: 'wait', started: leaving.evict }, leaving.release);
    leaving = undefined;
  };
  for (const instruction of program.instructions) {
    if (
      instruction.op === 'release' &&
      instruction.memory === 'gradients' &&
      isOffloaded('gradients', instruction.block, program)
    ) {
      const { block, micro } = instruction;
      const before = earlier.get(block);
      settle();
      if (before !== undefined && micro !== undefined) instructions.push(...fetched(block, micro));
      const evict = evicted(block, micro, before !== undefined);
      instructions.push(evict);
      if (micro !== undefined) earlier.set(block, micro);
      leaving = { evict, release: instruction };
      continue;
    }
    const isWanted = instruction.op === 'prepare' && instruction.block === leaving?.release.block;
    if (isWanted || instruction.op === 'agree') settle();
    instructions.push(instruction);
  }
  return { ...program, instructions };
};

function evicted(block: number, micro: number | undefined, adds: boolean): Leaving['evict'] {
  return {
    op: 'evict',
    memory: 'gradients',
    block,
    ...(micro !== undefined && { micro }),
    ...(adds && { adds: true as const }),
  };
}

function fetched(block: number, micro: number): readonly Instruction[] {
  const fetch: Instruction<'fetch'> & FetchedGradients = { op: 'fetch', memory: 'gradients', block, micro };
  return [fetch, { op: 'wait', started: fetch }];
}

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
 *
 * A rank that divides with nobody adds up in one memory, which rounds otherwise than adding one sum to another: there
 * backward goes on from what was left, as it does where nothing leaves.
 */
export const evictGradients: Pass = (program) => {
  const isAlone = program.groups.data.length === 1;
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
      const adds = before !== undefined && !isAlone;
      if (adds && micro !== undefined) instructions.push(...fetched({ block, micro }));
      const evict = evicted(block, micro, adds);
      instructions.push(evict);
      if (micro !== undefined) earlier.set(block, micro);
      leaving = { evict, release: instruction };
      continue;
    }
    const isWanted = instruction.op === 'prepare' && instruction.block === leaving?.release.block;
    if (isWanted || instruction.op === 'agree') settle();
    const goesOn = isAlone && instruction.op === 'prepare' && earlier.has(instruction.block);
    if (goesOn && instruction.micro !== undefined) {
      const { block, micro } = instruction;
      instructions.push(...fetched({ block, micro, continues: true }));
    } else {
      instructions.push(instruction);
    }
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

function fetched(gradients: Omit<FetchedGradients, 'memory'>): readonly Instruction[] {
  const fetch: Instruction<'fetch'> & FetchedGradients = { op: 'fetch', memory: 'gradients', ...gradients };
  return [fetch, { op: 'wait', started: fetch }];
}

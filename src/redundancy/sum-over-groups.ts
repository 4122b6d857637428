import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';
import { isReplicated, requiredSums } from '../step/sharding.js';

/**
 * The second level of two: what a group has summed into its slices is summed over the groups, once per step, by the ranks
 * that own the same slice (MiCS: at the boundary of gradient accumulation). A slice starts when its last part has come,
 * and travels while backward goes on; all are waited for before the ranks of a group agree. The groups then tell each
 * other what theirs agreed on.
 *
 * A program of one group stays as it is.
 *
 * @param overlap false: each is waited for where it starts (DeepSpeed: overlap_comm)
 */
export function sumOverGroups(overlap: boolean): Pass {
  return (program) => {
    if (!isReplicated(program)) return program;
    const starts = startsByPosition(program);
    const waits = overlap ? [...starts.values()].map(waitFor) : [];
    const over = { op: 'agree', over: 'replicate' } as const;
    const instructions = program.instructions.flatMap((instruction, position): readonly Instruction[] => {
      if (isAgree(instruction)) return [...waits, instruction];
      if (instruction.op === 'wait' && isAgree(instruction.started)) {
        return [instruction, over, waitFor(over)];
      }
      const started = starts.get(position);
      if (started === undefined) return [instruction];
      return [instruction, started, ...(overlap ? [] : [waitFor(started)])];
    });
    return { ...program, instructions };
  };
}

/** The sums to start, by the position of the instruction that they follow, in the order of the program. */
function startsByPosition(program: Program): ReadonlyMap<number, Instruction<'sum'>> {
  const positions = requiredSums(program).map((sum) => [lastScattered(program, sum.block), sum] as const);
  return new Map(positions.sort(([left], [right]) => left - right));
}

/** Where the last of a block's gradients have come to their slices. */
function lastScattered({ instructions, sharding }: Program, block: number): number {
  return instructions.reduce((last, instruction, position) => {
    if (instruction.op !== 'wait' || instruction.started.op !== 'scatter') return last;
    return sharding?.parts[instruction.started.part]?.block === block ? position : last;
  }, -1);
}

/** Whether the ranks of a group agree here. */
function isAgree(instruction: Instruction): boolean {
  return instruction.op === 'agree' && instruction.over === undefined;
}

function waitFor(started: Instruction<'sum' | 'agree'>): Instruction {
  return { op: 'wait', started };
}

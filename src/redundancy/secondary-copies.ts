import { neighbourhoodOf } from '../comm/mesh.js';
import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';

/**
 * ZeRO stage 3 with a second copy of the parameters that the ranks of a host divide (ZeRO++ hpZ, arXiv 2306.10209; DeepSpeed:
 * zero_hpz_partition_size): the first gather of a block in a step is over all data-parallel ranks, and what it brings is
 * copied, a slice for each neighbour. Every later one of the step, in backward and for further micro-batches, is among
 * the neighbours, and brings the same values. A block that is gathered once has no copy.
 *
 * Comes after the passes that write gathers and say how they travel. Where all data-parallel ranks are neighbours the
 * program stays as it is.
 *
 * @param size ranks that divide a copy; a divisor of the number of data-parallel ranks
 */
export function secondaryCopies(size: number): Pass {
  return (program) => {
    const { data } = program.groups;
    if (data.length <= size) return program;
    const copied = gatheredAgain(program);
    if (copied.size === 0) return program;
    const copies = new Set<number>();
    const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
      const gather = gatherOf(instruction);
      if (gather === undefined || !copied.has(gather.block)) return [instruction];
      const { block } = gather;
      const isCopied = copies.has(block);
      const again = { op: 'gather', block, from: 'secondary' } as const;
      if (instruction.op !== 'wait') return [isCopied ? again : instruction];
      if (isCopied) return [{ op: 'wait', started: again }];
      copies.add(block);
      return [instruction, { op: 'copy', block }];
    });
    return {
      ...program,
      groups: { ...program.groups, secondary: neighbourhoodOf(data, program.rank, size).neighbours },
      copiedBlocks: [...copied],
      features: [...program.features, `second copy over ${size}`],
      instructions,
    };
  };
}

function gatherOf(instruction: Instruction): Instruction<'gather'> | undefined {
  const started = instruction.op === 'wait' ? instruction.started : instruction;
  return started.op === 'gather' ? started : undefined;
}

/** The blocks that a step gathers more than once. */
function gatheredAgain({ instructions }: Program): ReadonlySet<number> {
  const blocks = instructions.flatMap((each) => (each.op === 'gather' ? [each.block] : []));
  return new Set(blocks.filter((block, index) => blocks.indexOf(block) !== index));
}

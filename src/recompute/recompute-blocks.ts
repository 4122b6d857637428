import type { Instruction } from '../step/instruction.js';
import type { Pass } from '../step/program.js';

/**
 * Activation recomputation (DeepSpeed: activation checkpointing): the chosen blocks drop what their forward
 * made, but for the output, and run it again right before their backward (Chen et al., arXiv 1604.06174).
 * Which blocks those are is decided elsewhere; any choice gives the same gradients.
 */
export function recomputeBlocks(blocks: ReadonlySet<number>): Pass {
  return (program) => {
    if (blocks.size === 0) return program;
    const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
      const isRun = instruction.op === 'forward' || instruction.op === 'backward';
      if (instruction.op === 'backward' && instruction.half === 'weights') return [instruction];
      if (!isRun || !blocks.has(instruction.block)) return [instruction];
      const { block, micro } = instruction;
      return instruction.op === 'forward'
        ? [{ ...instruction, drop: true }]
        : [{ op: 'recompute', block, micro }, instruction];
    });
    const feature = `recompute ${blocks.size} of ${program.blocks.length} blocks`;
    return { ...program, instructions, features: [...program.features, feature] };
  };
}

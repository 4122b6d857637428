import type { FlatLayout } from '../nn/flat-layout.js';
import type { Instruction } from '../step/instruction.js';
import type { Completion, Pass } from '../step/program.js';
import { contributorsTo } from '../step/sharding.js';

/**
 * Tensor parallelism (Megatron-LM, arXiv 1909.08053) lives inside the blocks. What is left to the program: gradients of
 * parameters that several ranks have and use on different things (norms on their positions, the heads that they share)
 * are summed after a block's last backward, before the sums along the data axis; and the ranks agree on the norm.
 *
 * A program without a tensor axis stays as it is.
 */
export function completeGradients(layout: FlatLayout): Pass {
  return (program) => {
    const ranks = program.groups.tensor?.length ?? 1;
    if (ranks === 1) return program;
    const completions = layout.blocks.flatMap((slots, block): readonly Completion[] => {
      const elements = slots
        .filter(({ name, owner, trainable, division }) => name === owner && trainable && division?.isPartial)
        .reduce((sum, { division }) => sum + product(division?.shape ?? []), 0);
      return elements === 0 ? [] : [{ block, axis: 'tensor', elements }];
    });
    const after = new Map<number, Instruction[]>();
    for (const { block, axis } of completions) {
      const contributors = new Set(contributorsTo(block, program));
      const last = program.instructions.reduce(
        (found, each, position) =>
          each.op === 'backward' && contributors.has(each.block) ? position : found,
        -1,
      );
      const complete = { op: 'complete', block, axis } as const;
      after.set(last, [...(after.get(last) ?? []), complete, { op: 'wait', started: complete }]);
    }
    const agree = { op: 'agree', over: 'tensor' } as const;
    return {
      ...program,
      completions: [...(program.completions ?? []), ...completions],
      features: [...program.features, `tensor parallel ${ranks}`],
      instructions: program.instructions.flatMap((instruction, position): readonly Instruction[] => [
        ...(instruction.op === 'clip' ? [agree, { op: 'wait', started: agree } as const] : []),
        instruction,
        ...(after.get(position) ?? []),
      ]),
    };
  };
}

function product(shape: readonly number[]): number {
  return shape.reduce((all, size) => all * size, 1);
}

import type { FlatLayout } from '../nn/flat-layout.js';
import type { Instruction } from '../step/instruction.js';
import type { Completion, Pass } from '../step/program.js';

/**
 * Parameters that tie blocks of several stages (an embedding and a head) are on each of these, with the same values: their
 * gradients are summed over the stages, and each updates its own in the same way (Megatron-LM's embedding group). At the
 * end of the schedule: a stage that waited for it earlier would wait for one that waits for this one's gradients.
 */
export function completeTied(layout: FlatLayout): Pass {
  return (program) => {
    if (program.groups.tied === undefined) return program;
    const completions = layout.blocks.flatMap((slots, block): readonly Completion[] => {
      const elements = slots
        .filter(({ name, owner, trainable, shared }) => name === owner && trainable && shared !== undefined)
        .reduce((sum, slot) => sum + slot.elements, 0);
      return elements === 0 ? [] : [{ block, axis: 'tied', elements }];
    });
    const starts = completions.map(({ block }) => ({ op: 'complete', block, axis: 'tied' }) as const);
    const end = program.instructions.find(({ op }) => op === 'agree' || op === 'clip');
    return {
      ...program,
      completions: [...(program.completions ?? []), ...completions],
      instructions: program.instructions.flatMap((instruction): readonly Instruction[] =>
        instruction === end
          ? [...starts, ...starts.map((started): Instruction => ({ op: 'wait', started })), instruction]
          : [instruction],
      ),
    };
  };
}

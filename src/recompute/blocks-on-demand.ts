import { followValues } from '../step/checker/data-flow.js';
import type { Program } from '../step/program.js';

/**
 * The blocks to recompute so that activations are kept until live bytes reach a limit: as long as a program
 * exceeds it, the block is dropped that is kept at the peak and whose backward is farthest away. Where
 * nothing is left to drop, the program stays above the limit, for the caller to refuse.
 */
export function blocksOnDemand(
  limitBytes: number,
  candidates: ReadonlySet<number>,
  compile: (recomputed: ReadonlySet<number>) => Program,
): ReadonlySet<number> {
  const dropped = new Set<number>();
  for (;;) {
    const program = compile(dropped);
    const peak = followValues(program);
    if (peak.bytes <= limitBytes) return dropped;
    const left = [...candidates].filter((block) => !dropped.has(block));
    const next = farthestKept(program, peak.position, left);
    if (next === undefined) return dropped;
    dropped.add(next);
  }
}

/** Of the blocks whose graph is alive at a position, the one whose backward comes last. */
function farthestKept(
  { instructions }: Program,
  position: number,
  blocks: readonly number[],
): number | undefined {
  const begun = new Set(
    instructions
      .slice(0, position + 1)
      .flatMap((instruction) =>
        instruction.op === 'forward' ? [`${instruction.block} ${instruction.micro}`] : [],
      ),
  );
  const pending = instructions
    .slice(position + 1)
    .flatMap((instruction) => (instruction.op === 'backward' ? [instruction] : []))
    .filter(({ block, micro }) => blocks.includes(block) && begun.has(`${block} ${micro}`));
  return pending.at(-1)?.block;
}

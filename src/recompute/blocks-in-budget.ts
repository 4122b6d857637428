import { followValues } from '../step/checker/data-flow.js';
import type { Program } from '../step/program.js';
import { cheapestCover } from './cheapest-cover.js';

/**
 * The blocks whose recomputation takes least time among all choices that keep the peak of live bytes inside
 * a budget. Where no choice does, all candidates: less memory there is not.
 *
 * How far each block's recomputation lowers (or raises) memory at each moment is found by compiling the
 * program with that block alone recomputed. Blocks do not disturb each other: what two save together at a
 * moment is the sum of what each saves. So the question is a linear one, `cheapestCover`'s. Buffers alone may
 * be kept longer where several blocks are recomputed: what they take too much is then taken off the budget.
 */
export function blocksInBudget(
  budgetBytes: number,
  candidates: readonly number[],
  forwardTimes: readonly number[],
  compile: (recomputed: ReadonlySet<number>) => Program,
): ReadonlySet<number> {
  const before = heightsOf(compile(new Set()));
  const items = candidates.map((block) => {
    const after = heightsOf(compile(new Set([block])));
    return {
      cost: forwardTimes[block] ?? 0,
      relief: before.map((height, moment) => height - (after[moment] ?? 0)),
    };
  });
  for (let target = budgetBytes; ; ) {
    const cover = cheapestCover(
      items,
      before.map((height) => height - target),
    );
    if (cover === undefined) return new Set(candidates);
    const chosen = new Set(cover.map((item) => candidates[item] ?? 0));
    const { bytes } = followValues(compile(chosen));
    if (bytes <= budgetBytes) return chosen;
    target -= bytes - budgetBytes;
  }
}

/**
 * The live bytes at each moment of a program, comparable between programs that recompute different blocks: a
 * moment ends with a forward or a backward, and what was added before one (a recomputation, a gather)
 * belongs to it.
 */
function heightsOf(program: Program): readonly number[] {
  const heights: number[] = [];
  let highest = 0;
  followValues(program, (position, bytes) => {
    highest = Math.max(highest, bytes);
    const op = program.instructions[position]?.op;
    if (op !== 'forward' && op !== 'backward') return;
    heights.push(highest);
    highest = 0;
  });
  return [...heights, highest];
}

import { TrainyardError } from '../base/errors.js';
import type { Program } from '../step/program.js';
import { blocksInBudget } from './blocks-in-budget.js';
import { blocksOnDemand } from './blocks-on-demand.js';
import type { BlockChoice } from './config.js';
import { selectBlocks } from './select-blocks.js';

/** What a choice of blocks is judged by. */
export interface RecomputeQuestion {
  /** A rank's whole program when these blocks are recomputed. */
  readonly compile: (recomputed: ReadonlySet<number>) => Program;
  /**
   * How long the forward of each block takes, in any unit. Left out: a block takes as long as it has
   * parameters, which holds for products of matrices.
   */
  readonly forwardTimes?: readonly number[] | undefined;
}

/**
 * The blocks that a policy recomputes, by their indices.
 *
 * @throws TrainyardError CONFIG_INVALID for a name that matches no block, CONFIG_CONFLICT for a selection of which
 * nothing would come.
 */
export function chooseBlocks(policy: BlockChoice, question: RecomputeQuestion): ReadonlySet<number> {
  if (policy.policy === 'none') return new Set();
  const program = question.compile(new Set());
  const useful = usefulBlocks(program);
  const { forwardTimes = program.blocks.map(parameterElements) } = question;
  switch (policy.policy) {
    case 'always':
      return useful;
    case 'selected': {
      const selected = selectBlocks(policy, program.blocks);
      const chosen = [...selected].filter((block) => useful.has(block));
      if (chosen.length === 0) throw nothingSelected(selected.size, program.blocks.length);
      return new Set(chosen);
    }
    case 'on-demand':
      return blocksOnDemand(policy.limit_bytes, useful, question.compile);
    case 'budget':
      return blocksInBudget(policy.budget_bytes, [...useful], forwardTimes, question.compile);
    default:
      return policy satisfies never;
  }
}

/**
 * The blocks whose recomputation saves memory: they keep more than their output, and something else runs
 * between their forward and their backward.
 */
function usefulBlocks({ blocks, instructions }: Program): ReadonlySet<number> {
  const keeping = blocks.flatMap(({ activationBytes, outputBytes }, index) =>
    activationBytes > outputBytes ? [index] : [],
  );
  const runs = instructions.filter(({ op }) => op === 'forward' || op === 'backward');
  const turns = runs.flatMap((instruction, position) => {
    const next = runs[position + 1];
    const isTurn =
      instruction.op === 'forward' && next?.op === 'backward' && next.block === instruction.block;
    return isTurn ? [instruction.block] : [];
  });
  return new Set(keeping.filter((block) => !turns.includes(block)));
}

function nothingSelected(selected: number, blocks: number): TrainyardError {
  return new TrainyardError('CONFIG_CONFLICT', {
    what: 'Nothing would come of the selection of blocks to recompute.',
    where: 'recompute, or pipeline.activation_checkpoint_interval',
    expected: 'a block that keeps more than its output while others run; the last one keeps nothing so long',
    got: `${selected} of ${blocks} blocks, none of which is such a block`,
    cure: 'Select others: `trainyard program` prints all blocks with policy "always".',
  });
}

function parameterElements({ parameters }: Program['blocks'][number]): number {
  return parameters.reduce((sum, { elements }) => sum + elements, 0);
}

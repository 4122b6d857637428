import type { FlatRange } from '../nn/flat-layout.js';
import type { Instruction } from '../step/instruction.js';
import type { Pass, Sharding } from '../step/program.js';
import { contributorsTo } from '../step/sharding.js';
import { isDividedIntoStages } from '../step/stage-blocks.js';
import { planParts } from './partition.js';

export interface ShardStateOptions {
  /** What is divided (DeepSpeed: zero_optimization.stage): 1 optimizer states, 2 gradients, 3 parameters. */
  readonly stage: 1 | 2 | 3;
  /** The layout's range of each block. */
  readonly ranges: readonly FlatRange[];
  /** Largest message of a gradient reduction, over all ranks (DeepSpeed: reduce_bucket_size). */
  readonly bucketElements: number;
  /**
   * Sum all of a step's gradients at once at every stage, so that the order of additions is that of stage 1.
   * Stages 2 and 3 then keep gradients from micro-batch to micro-batch.
   */
  readonly sameOrder: boolean;
  /** Whether a rank that is alone has slices too: those of all blocks, which may then lie elsewhere. */
  readonly dividesAlone?: boolean;
}

/**
 * Divides the training state over the data-parallel ranks (ZeRO, arXiv 1910.02054). Every rank updates the
 * slices that it owns; the norm and the tally, which no rank knows alone, are agreed on before `clip`. What
 * brings gradients to the slices and parameters back from them are the passes after this one. Stages of a pipeline
 * sum gradients once per step, and keep them as long.
 *
 * A program of one rank stays as it is, unless its slices are to lie elsewhere.
 */
export function shardState(options: ShardStateOptions): Pass {
  const { stage, ranges, bucketElements, sameOrder, dividesAlone = false } = options;
  return (program) => {
    const ranks = program.groups.data.length;
    if (ranks === 1 && !dividesAlone) return program;
    // What other ranks have to complete is completed once.
    const isCompleted = (program.completions?.length ?? 0) > 0;
    // Its micro-batches come back in turns: reduced singly, gradients would come and go all the time.
    const isStage = isDividedIntoStages(program);
    const undivided: Sharding = {
      ranges,
      parameters: stage === 3 ? 'released' : 'kept',
      gradients: stage === 1 ? 'kept' : 'released',
      reductions: stage === 1 || sameOrder || isCompleted || isStage ? 'every step' : 'every micro-batch',
      parts: [],
    };
    const withRanges = { ...program, sharding: undivided };
    const parts = planParts({ ranks, ranges }, bucketElements, (block) => contributorsTo(block, withRanges));
    const agree = { op: 'agree' } as const;
    // Ranks with other parts of the model agree on what those agreed on that have the same.
    const first = program.instructions.find(({ op }) => op === 'agree' || op === 'clip');
    return {
      ...program,
      sharding: { ...undivided, parts },
      optimizerBytes: program.optimizerBytes / ranks,
      features: [...program.features, ...(ranks === 1 ? [] : [`data parallel ${ranks}`]), `ZeRO ${stage}`],
      instructions: program.instructions.flatMap((instruction): readonly Instruction[] =>
        instruction === first ? [agree, { op: 'wait', started: agree }, instruction] : [instruction],
      ),
    };
  };
}

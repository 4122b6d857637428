import type { Instruction } from '../step/instruction.js';
import type { Bucket, Pass, Program } from '../step/program.js';
import { blockFinishedBy } from '../step/sharding.js';
import { assignBuckets } from './buckets.js';

export interface ReduceGradientsOptions {
  /** Elements after which a bucket is full (DeepSpeed: reduce_bucket_size). */
  readonly bucketElements: number;
  /** Elements below which it stays open all the same (communication.merge_below_ms); left out: none. */
  readonly leastElements?: number;
  /** Start each reduction as soon as its gradients are complete (DeepSpeed: overlap_comm). */
  readonly overlap: boolean;
  /** Sums are made in the order of ranks, which takes memory for what the others send. */
  readonly ordered?: boolean;
}

/**
 * Plain data parallelism (DeepSpeed: ZeRO stage 0): every rank has the whole model, and gradients are summed
 * over the ranks once per step. With overlap a bucket starts right after the last backward that adds to it,
 * and travels while backward goes on; without, all start after backward. All are waited for before `clip`.
 *
 * A program of one rank stays as it is.
 */
export function reduceGradients(options: ReduceGradientsOptions): Pass {
  return (program) => {
    const ranks = program.groups.data.length;
    if (ranks === 1) return program;
    const { blocks, trainableElements } = program;
    const buckets = assignBuckets(blocks, trainableElements, options.bucketElements, options.leastElements);
    const starts = startsByPosition(program, buckets, options);
    const end = program.instructions.find(({ op }) => op === 'agree' || op === 'clip');
    const waits = [...starts.values()].flat().map((started): Instruction => ({ op: 'wait', started }));
    const instructions = program.instructions.flatMap((instruction, position): readonly Instruction[] =>
      instruction === end ? [...waits, instruction] : [instruction, ...(starts.get(position) ?? [])],
    );
    return { ...program, buckets, instructions, features: [...program.features, `data parallel ${ranks}`] };
  };
}

/** The reductions to start, by the position of the instruction that they follow, in the order of the program. */
function startsByPosition(
  program: Program,
  buckets: readonly Bucket[],
  { overlap, ordered = false }: ReduceGradientsOptions,
): ReadonlyMap<number, readonly Instruction<'reduce'>[]> {
  const completion = buckets.map((bucket) => lastBackward(program, overlap ? bucket.blocks : undefined));
  const order = [...buckets.keys()].sort((a, b) => (completion[a] ?? 0) - (completion[b] ?? 0) || a - b);
  const starts = new Map<number, Instruction<'reduce'>[]>();
  for (const bucket of order) {
    const position = completion[bucket] ?? 0;
    starts.set(position, [
      ...(starts.get(position) ?? []),
      { op: 'reduce', bucket, ...(ordered && { ordered }) },
    ]);
  }
  return starts;
}

/** Position of the last backward of these blocks, or of any block, or of what completes it. */
function lastBackward(program: Program, blocks?: readonly number[]): number {
  return program.instructions.reduce((last, instruction, position) => {
    const block = blockFinishedBy(instruction);
    return block !== undefined && (blocks?.includes(block) ?? true) ? position : last;
  }, -1);
}

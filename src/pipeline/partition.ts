import { TrainyardError } from '../base/errors.js';
import { givenParts } from './partition/given-parts.js';
import { lightestParts, type PartLimits } from './partition/lightest-parts.js';
import { matchingWeights } from './partition/matching-weights.js';
import { range } from './range.js';

/** How the blocks of a model come to the stages (DeepSpeed: `partition_method`). */
export type PartitionMethod =
  /** Equally many blocks; what is left over goes to the first parts. */
  | { readonly kind: 'uniform' }
  /** As few trainable parameters as possible in the largest part. */
  | { readonly kind: 'parameters' }
  /** As few blocks as possible in any part whose kind or name matches (DeepSpeed: `type:regex`). */
  | { readonly kind: 'type'; readonly pattern: string }
  /** The smallest possible slowest part, of what was measured, within a limit of memory. */
  | { readonly kind: 'profile'; readonly limitBytes?: number }
  /** Blocks of each part, by hand. */
  | { readonly kind: 'counts'; readonly counts: readonly number[] }
  /** The first block of each part, by hand, and the number of all blocks at the end: [0, 3, 6]. */
  | { readonly kind: 'boundaries'; readonly boundaries: readonly number[] };

/** What is known of a block when the model is divided. */
export interface PartitionedBlock {
  readonly name: string;
  /** What it is ("decoder"), where that is known. */
  readonly kind?: string;
  readonly trainableElements: number;
  /** Measured: forward and backward of one micro-batch. Only `profile` needs it. */
  readonly milliseconds?: number;
  /**
   * What it takes on the part with this number: schedules keep more micro-batches on some than on others. Only `profile`
   * with a limit needs it.
   */
  readonly bytes?: (part: number) => number;
}

/** Blocks [start, end) of the model. */
export interface BlockRun {
  readonly start: number;
  readonly end: number;
}

/**
 * Divides a model into runs of blocks, none of them empty: one for each chunk of each stage, in the order of the model.
 * Of several best divisions it is the one with the least sum of squares, which evens out the other parts too.
 *
 * @param where the configuration key that asks for it
 * @throws TrainyardError CONFIG_CONFLICT where the model has too few blocks, where what is given by hand does not fit it,
 * where no block matches, and where no division fits the limit; CONFIG_INVALID for a pattern that is no regular expression.
 */
export function partitionBlocks(
  method: PartitionMethod,
  blocks: readonly PartitionedBlock[],
  parts: number,
  where: string,
): readonly BlockRun[] {
  if (blocks.length < parts) throw tooFewBlocks(blocks.length, parts, where);
  switch (method.kind) {
    case 'uniform':
      return runsOf(uniformCounts(blocks.length, parts));
    case 'parameters':
      return balanced(
        blocks.map(({ trainableElements }) => trainableElements),
        parts,
        where,
      );
    case 'type':
      return balanced(matchingWeights(method.pattern, blocks, where), parts, where);
    case 'profile':
      return balanced(
        blocks.map(({ milliseconds = 0 }) => milliseconds),
        parts,
        where,
        limitsOf(method.limitBytes, blocks),
      );
    case 'counts':
    case 'boundaries':
      return runsOf(givenParts(method, blocks.length, parts, where));
    default:
      return method satisfies never;
  }
}

/**
 * The chunks of one stage, as a program has them: runs go round the stages, so that run r is chunk ⌊r / p⌋ of stage
 * r mod p.
 */
export function chunksOfStage(
  runs: readonly BlockRun[],
  stages: number,
  stage: number,
): readonly (readonly number[])[] {
  return runs
    .filter((_, run) => run % stages === stage)
    .map(({ start, end }) => range(end - start).map((index) => start + index));
}

function balanced(
  weights: readonly number[],
  parts: number,
  where: string,
  limits?: PartLimits,
): readonly BlockRun[] {
  const lengths = lightestParts(weights, parts, limits);
  if (lengths !== undefined) return runsOf(lengths);
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'No division of the model into stages fits the memory limit.',
    where,
    expected: `a limit within which ${parts} runs of blocks fit`,
    got: `${limits?.limit} bytes`,
    cure: 'Take more stages, recompute blocks, make the micro-batch smaller, or raise the limit.',
  });
}

function limitsOf(limit: number | undefined, blocks: readonly PartitionedBlock[]): PartLimits | undefined {
  if (limit === undefined) return undefined;
  return { limit, sizeOf: (block, part) => blocks[block]?.bytes?.(part) ?? 0 };
}

function uniformCounts(blocks: number, parts: number): readonly number[] {
  const each = Math.floor(blocks / parts);
  return range(parts).map((part) => each + (part < blocks % parts ? 1 : 0));
}

function runsOf(counts: readonly number[]): readonly BlockRun[] {
  let start = 0;
  return counts.map((count) => {
    const run = { start, end: start + count };
    start += count;
    return run;
  });
}

function tooFewBlocks(blocks: number, parts: number, where: string): TrainyardError {
  return new TrainyardError('CONFIG_CONFLICT', {
    what: 'The model has fewer blocks than the pipeline has parts.',
    where,
    expected: `at most ${blocks} parts (stages × chunks)`,
    got: `${parts}`,
    cure: 'Take fewer stages or chunks.',
  });
}

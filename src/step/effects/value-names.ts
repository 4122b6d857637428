import type { Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Bucket, Program } from '../program.js';
import { ownElements } from '../sharding.js';
import { hasLoss } from '../stage-blocks.js';

// The names of values that instructions read, make and free: see [Note: values] in effect-table.ts.

export const constants = 'constants';
export const gradients = 'gradient buffer';
export const cleared = 'cleared gradients';
export const gradientNorm = 'gradient norm';
export const optimizerStates = 'optimizer states';
export const update = 'updated parameters';
export const shards = 'own slices of the parameters';
export const secondary = 'memory of the second copy';
export const copied = (block: number) => `second copy of block.${block}`;
export const computed = 'memory of the parameters to compute with';
export const errors = 'errors of messages';
export const errorsBefore = 'errors before the step';
export const ownMomentum = 'share of the momentum';
export const wholeMomentum = (block: number) => `momentum of block.${block}`;
export const replicaSlices = 'slices of all replicas';
export const commonSlice = 'own slice of the common weights';
export const distances = 'distances of replicas';
export const merged = 'common weights in every replica';
export const compared = 'comparison of replicas';
export const checked = 'check for overflow';
export const agreed = 'agreed tally';
export const agreedOver = (group: 'replicate' | 'tensor' | 'pipeline') => `tally agreed on over ${group}`;
export const parameters = (block: number) => `parameters of block.${block}`;
export const fetchedParameters = (block: number) => `fetched slice of block.${block}`;
export const evictedGradients = (block: number, micro: number | undefined) =>
  `${blockGradients(block, micro)} in their tier`;
export const earlierGradients = (block: number) => `sum so far of the gradients of block.${block}`;
export const tiles = 'tiles of the update';
export const updatedWeights = 'weights after the update under way';
export const adopted = 'adopted weights';
export const updatedBlock = (block: number) => `update before of block.${block}`;
export const updatedShare = (share: number) => `share ${share} of the update before`;
export const earlierUpdate = 'update of the step before';
export const tierMemory = (tier: string, what: string) => `${what} (${tier})`;
export const batch = (micro: number) => `batch of micro ${micro}`;
export const output = (block: number, micro: number) => `output of block.${block} micro ${micro}`;
export const outputOnHost = (block: number, micro: number) =>
  `output of block.${block} micro ${micro} on the host`;
export const graph = (block: number, micro: number) => `graph of block.${block} micro ${micro}`;
export const deferred = (block: number, micro: number) =>
  `deferred gradients of block.${block} micro ${micro}`;
export const outputGradient = (block: number, micro: number) =>
  `output gradient of block.${block} micro ${micro}`;
export const contribution = (block: number, micro: number) => `gradients from block.${block} micro ${micro}`;
export const completed = (block: number, axis: string) => `complete gradients of block.${block} (${axis})`;
export const loss = (micro: number) => `loss of micro ${micro}`;
export const blockMemory = (block: number) => `gradient memory of block.${block}`;
export const blockGradients = (block: number, micro: number | undefined) =>
  micro === undefined ? `gradients of block.${block}` : `gradients of block.${block} micro ${micro}`;
export const scattered = (instruction: Instruction<'scatter'>) => `result of ${startName(instruction)}`;
export const summed = (block: number) => `sum of slice.${block} over all groups`;
export const reduced = (bucket: number) => `reduced bucket.${bucket}`;
export const scratchName = 'workspace';

/** What backward adds to a bucket, and the losses that travel with it. */
export function contributionsTo(
  bucket: Pick<Bucket, 'blocks' | 'carriesTally'>,
  program: Program,
): readonly string[] {
  const micros = microsOf(program);
  return [
    ...bucket.blocks.flatMap((block) => micros.map((micro) => contribution(block, micro))),
    ...completionsOf(bucket.blocks, program),
    ...(bucket.carriesTally ? lossesOf(program) : []),
  ];
}

/** The own slice of a block, as this step computes with it. */
export function weightsToUse(block: number, program: Program): readonly string[] {
  const { offload } = program;
  if (offload === undefined || ownElements(block, program) === 0) return [shards];
  return [shards, offload.updates === 'delayed' ? adopted : updatedBlock(block)];
}

/** What has to be complete before the gradients of these blocks can be used. */
export function completionsOf(
  blocks: readonly number[],
  { completions = [] }: Pick<Program, 'completions'>,
): readonly string[] {
  return completions
    .filter(({ block }) => blocks.includes(block))
    .map(({ block, axis }) => completed(block, axis));
}

/** The losses that this rank adds to its tally. */
export function lossesOf(program: Program): readonly string[] {
  return hasLoss(program) ? microsOf(program).map(loss) : [];
}

export function microsOf(program: Program): readonly number[] {
  return Array.from({ length: program.microBatches }, (_, micro) => micro);
}

import type { FlatRange } from '../nn/flat-layout.js';
import type { Instruction } from './instruction.js';
import type { Program, Sharding } from './program.js';

/**
 * The blocks whose memory holds the parameters that a block uses: itself, and the owners of its tied ones. Of
 * a program with sharding, only those that have something to gather.
 */
export function blocksUsedBy(block: number, program: Program): readonly number[] {
  const owners = new Set(program.blocks[block]?.parameters.map(({ owner }) => owner));
  const used = [...program.blocks.keys()].filter(
    (other) =>
      other === block || program.blocks[other]?.parameters.some(({ name }) => owners.has(name)) === true,
  );
  const { sharding } = program;
  return sharding === undefined ? used : used.filter((other) => rangeElements(sharding, other) > 0);
}

/** The blocks whose backward adds to the gradients of a block's memory. */
export function contributorsTo(block: number, program: Program): readonly number[] {
  return [...program.blocks.keys()].filter((other) => blocksUsedBy(other, program).includes(block));
}

/** The block whose backward, or its completion by other ranks, ends with this instruction. */
export function blockFinishedBy(instruction: Instruction): number | undefined {
  if (instruction.op === 'backward') return instruction.block;
  return instruction.op === 'wait' && instruction.started.op === 'complete'
    ? instruction.started.block
    : undefined;
}

/** Whether a block owns parameters that are trained. */
export function isTrained(block: number, program: Program): boolean {
  const parameters = program.blocks[block]?.parameters ?? [];
  return parameters.some(({ name, owner, trainable }) => name === owner && trainable);
}

/** The place of this rank among the data-parallel ranks: which slices are its own. */
export function dataPlace({ rank, groups }: Pick<Program, 'rank' | 'groups'>): number {
  return groups.data.indexOf(rank);
}

/** Elements of a block's range, padding included. */
export function rangeElements({ ranges }: Pick<Sharding, 'ranges'>, block: number): number {
  const { start, end }: FlatRange = ranges[block] ?? { start: 0, end: 0 };
  return end - start;
}

/** Elements of the slice of a block that this rank owns. */
export function ownElements(
  block: number,
  { sharding, groups }: Pick<Program, 'sharding' | 'groups'>,
): number {
  return sharding === undefined ? 0 : rangeElements(sharding, block) / groups.data.length;
}

/** The blocks of which this rank owns something that it updates. */
export function updatedBlocks(program: Pick<Program, 'blocks' | 'sharding' | 'groups'>): readonly number[] {
  return [...program.blocks.keys()].filter((block) => ownElements(block, program) > 0);
}

/** Whether what this rank owns of a block lies in another tier, of one kind of training state. */
export function isOffloaded(
  kind: 'optimizer' | 'gradients' | 'parameters',
  block: number,
  { offload }: Pick<Program, 'offload'>,
): boolean {
  return offload?.[kind]?.blocks.includes(block) ?? false;
}

/** How many elements of such slices there are. */
export function offloadedElements(kind: 'optimizer' | 'gradients' | 'parameters', program: Program): number {
  const blocks = program.offload?.[kind]?.blocks ?? [];
  return blocks.reduce((sum, block) => sum + ownElements(block, program), 0);
}

/** Whether a block's slice is fetched from another tier before the block is gathered. */
export function isFetched(block: number, program: Pick<Program, 'offload'>): boolean {
  return isOffloaded('parameters', block, program);
}

/** The scatters that a step must have: of every part, and of each micro-batch where those are summed singly. */
export function requiredScatters(program: Program): readonly Instruction<'scatter'>[] {
  const { sharding } = program;
  if (sharding === undefined) return [];
  return [...sharding.parts.keys()].flatMap((part): readonly Instruction<'scatter'>[] =>
    sharding.reductions === 'every step'
      ? [{ op: 'scatter', part }]
      : Array.from({ length: program.microBatches }, (_, micro) => ({ op: 'scatter', part, micro })),
  );
}

/** Whether other ranks own the same slices, and have their part of the gradients. */
export function isReplicated({ groups }: Pick<Program, 'groups'>): boolean {
  return (groups.replicate?.length ?? 1) > 1;
}

/** The sums over groups that a step must have: of every slice that has gradients. */
export function requiredSums(program: Program): readonly Instruction<'sum'>[] {
  if (!isReplicated(program)) return [];
  const blocks = new Set(program.sharding?.parts.map(({ block }) => block));
  return [...blocks].map((block) => ({ op: 'sum', block }));
}

/** The evictions that a step must have: of every slice that has gradients, where these go to another tier. */
export function requiredEvictions(
  program: Program,
): readonly { readonly block: number; readonly micro?: number }[] {
  const { sharding, offload, microBatches } = program;
  if (sharding === undefined || offload?.gradients === undefined) return [];
  const trained = [...new Set(sharding.parts.map(({ block }) => block))];
  const blocks = trained.filter((block) => isOffloaded('gradients', block, program));
  if (sharding.reductions === 'every step') return blocks.map((block) => ({ block }));
  return blocks.flatMap((block) => Array.from({ length: microBatches }, (_, micro) => ({ block, micro })));
}

/** Whether the parameters that blocks use are made in every step, from weights that are kept apart. */
export function hasMasters({ sharding, precision }: Program): boolean {
  return sharding !== undefined || precision !== undefined;
}

/** The blocks whose parameters are so made. */
export function remadeBlocks(program: Program): readonly number[] {
  const { blocks, sharding, precision } = program;
  if (sharding !== undefined) return [...blocks.keys()].filter((block) => rangeElements(sharding, block) > 0);
  return precision === undefined ? [] : [...blocks.keys()].filter((block) => isTrained(block, program));
}

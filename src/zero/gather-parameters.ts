import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';
import { blocksUsedBy, rangeElements } from '../step/sharding.js';

export interface GatherParametersOptions {
  /** Let forward go on under a gather (DeepSpeed: overlap_comm). */
  readonly overlap: boolean;
  /** A block without a parameter longer than this is persistent: it stays whole through the step. */
  readonly persistenceThreshold: number;
  /** Elements that all persistent blocks together may have (DeepSpeed: stage3_model_persistence_threshold). */
  readonly mostPersistentElements: number;
  /** A block stays whole that is used again after no more elements (DeepSpeed: stage3_max_reuse_distance). */
  readonly mostReuseDistance: number;
  /** Elements that may be fetched before they are used (DeepSpeed: stage3_prefetch_bucket_size). */
  readonly prefetchElements: number;
  /** Gathered elements that may be in memory at a time (DeepSpeed: stage3_max_live_parameters). */
  readonly mostLiveElements: number;
}

/**
 * Makes parameters whole before a block uses them. Where they are kept (stages 1 and 2) each block is gathered
 * once, all gathers start with the step and a block is waited for when forward reaches it: what the step before
 * has updated travels under the forward of the blocks before. Where they are released (stage 3) a block is
 * gathered for each use and released after it, unless it is used again soon or persistent, and there is room; with
 * overlap the gather starts one use earlier.
 */
export function gatherParameters(options: GatherParametersOptions): Pass {
  return (program) => {
    if (program.sharding === undefined) return program;
    return program.sharding.parameters === 'kept'
      ? gatherOnce(program, options)
      : options.overlap
        ? prefetch(gatherEachUse(program, options), options)
        : gatherEachUse(program, options);
  };
}

function gatherOnce(program: Program, { overlap }: GatherParametersOptions): Program {
  const fresh = new Set<number>();
  const uses = program.instructions.flatMap((instruction): readonly Instruction[] => {
    const needed = usedBy(instruction, program).filter((block) => !fresh.has(block));
    for (const block of needed) fresh.add(block);
    return [
      ...needed.flatMap((block) => (overlap ? [wait(block)] : [gather(block), wait(block)])),
      instruction,
    ];
  });
  const starts = overlap ? [...fresh].map(gather) : [];
  return { ...program, instructions: [...starts, ...uses] };
}

function gatherEachUse(program: Program, options: GatherParametersOptions): Program {
  const uses = program.instructions
    .map((instruction) => usedBy(instruction, program))
    .filter((blocks) => blocks.length > 0);
  const isKept = planKept(program, uses, options);
  const whole = new Set<number>();
  let use = -1;
  const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
    const blocks = usedBy(instruction, program);
    if (blocks.length === 0) return [instruction];
    use += 1;
    const missing = blocks.filter((block) => !whole.has(block));
    const done = blocks.filter((block) => !isKept(block, use));
    for (const block of missing) whole.add(block);
    for (const block of done) whole.delete(block);
    return [...missing.flatMap((block) => [gather(block), wait(block)]), instruction, ...done.map(release)];
  });
  return { ...program, instructions };
}

/** Whether a block stays whole after a use, until its next. To be asked once for each use, in their order. */
function planKept(
  program: Program,
  uses: readonly (readonly number[])[],
  options: GatherParametersOptions,
): (block: number, use: number) => boolean {
  const { sharding } = program;
  const lengthOf = (block: number): number => (sharding === undefined ? 0 : rangeElements(sharding, block));
  const needed = uses.map((blocks) => blocks.reduce((sum, block) => sum + lengthOf(block), 0));
  const live = [...needed];
  const persistent = persistentBlocks(program, lengthOf, options);
  return (block, use) => {
    const next = uses.findIndex((blocks, later) => later > use && blocks.includes(block));
    if (next === -1) return false;
    const between = Array.from({ length: next - use - 1 }, (_, index) => use + 1 + index);
    const distance = between.reduce((sum, later) => sum + (needed[later] ?? 0), 0);
    const isWanted = persistent.has(block) || distance <= options.mostReuseDistance;
    const heights = between.map((later) => (live[later] ?? 0) + lengthOf(block));
    if (!isWanted || heights.some((height) => height > options.mostLiveElements)) return false;
    for (const [index, later] of between.entries()) live[later] = heights[index] ?? 0;
    return true;
  };
}

function persistentBlocks(
  { blocks }: Program,
  lengthOf: (block: number) => number,
  { persistenceThreshold, mostPersistentElements }: GatherParametersOptions,
): ReadonlySet<number> {
  const persistent = new Set<number>();
  let room = mostPersistentElements;
  for (const [block, { parameters }] of blocks.entries()) {
    const own = parameters.filter(({ name, owner }) => name === owner);
    if (own.some(({ elements }) => elements > persistenceThreshold) || lengthOf(block) > room) continue;
    persistent.add(block);
    room -= lengthOf(block);
  }
  return persistent;
}

/** Moves the start of each gather before the use that precedes it, as far as the limits allow. */
function prefetch(program: Program, options: GatherParametersOptions): Program {
  const { sharding } = program;
  if (sharding === undefined) return program;
  const lengthOf = (block: number): number => rangeElements(sharding, block);
  const instructions: Instruction[] = [];
  let previousUse: number | undefined;
  let live = 0;
  /** Live elements while the previous use runs, and what of them is fetched ahead. */
  let liveThen = 0;
  let ahead = 0;
  for (const instruction of program.instructions) {
    if (instruction.op === 'release' && instruction.memory === 'parameters')
      live -= lengthOf(instruction.block);
    if (instruction.op === 'gather') {
      const elements = lengthOf(instruction.block);
      live += elements;
      const fits =
        ahead + elements <= options.prefetchElements && liveThen + elements <= options.mostLiveElements;
      if (previousUse !== undefined && fits) {
        instructions.splice(previousUse, 0, instruction);
        previousUse += 1;
        ahead += elements;
        liveThen += elements;
        continue;
      }
    }
    if (usedBy(instruction, program).length > 0) {
      previousUse = instructions.length;
      liveThen = live;
      ahead = 0;
    }
    instructions.push(instruction);
  }
  return { ...program, instructions };
}

/** Products for weights that were put off need inputs and gradients alone. */
function usedBy(instruction: Instruction, program: Program): readonly number[] {
  const { op } = instruction;
  if (op === 'backward' && instruction.half === 'weights') return [];
  return op === 'forward' || op === 'recompute' || op === 'backward'
    ? blocksUsedBy(instruction.block, program)
    : [];
}

function gather(block: number): Instruction<'gather'> {
  return { op: 'gather', block };
}

function wait(block: number): Instruction {
  return { op: 'wait', started: gather(block) };
}

function release(block: number): Instruction {
  return { op: 'release', block, memory: 'parameters' };
}

import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';
import { blocksUsedBy, rangeElements } from '../step/sharding.js';

export interface GatherParametersOptions {
  /** Let forward go on under a gather (DeepSpeed: overlap_comm). */
  readonly overlap: boolean;
  /** A block without a parameter longer than this stays whole through the step (DeepSpeed's name for it). */
  readonly persistenceThreshold: number;
  /** Elements that may be fetched before they are used (DeepSpeed: stage3_prefetch_bucket_size). */
  readonly prefetchElements: number;
  /** Gathered elements that may be in memory at a time (DeepSpeed: stage3_max_live_parameters). */
  readonly mostLiveElements: number;
}

/**
 * Makes parameters whole before a block uses them. Where they are kept (stages 1 and 2) each block is gathered
 * once, all gathers start with the step and a block is waited for when forward reaches it: what the step before
 * has updated travels under the forward of the blocks before. Where they are released (stage 3) a block is
 * gathered for each use and released after it, unless it is the next to be used again or persistent; with
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

function gatherEachUse(program: Program, { persistenceThreshold }: GatherParametersOptions): Program {
  const uses = program.instructions
    .map((instruction) => usedBy(instruction, program))
    .filter((blocks) => blocks.length > 0);
  const isPersistent = program.blocks.map(({ parameters }) =>
    parameters.every(({ name, owner, elements }) => name !== owner || elements <= persistenceThreshold),
  );
  const whole = new Set<number>();
  let use = 0;
  const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
    const blocks = usedBy(instruction, program);
    if (blocks.length === 0) return [instruction];
    use += 1;
    const missing = blocks.filter((block) => !whole.has(block));
    const done = blocks.filter(
      (block) =>
        !uses[use]?.includes(block) &&
        !(isPersistent[block] && uses.slice(use).some((later) => later.includes(block))),
    );
    for (const block of missing) whole.add(block);
    for (const block of done) whole.delete(block);
    return [...missing.flatMap((block) => [gather(block), wait(block)]), instruction, ...done.map(release)];
  });
  return { ...program, instructions };
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

function usedBy(instruction: Instruction, program: Program): readonly number[] {
  const { op } = instruction;
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

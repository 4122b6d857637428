import type { Instruction, MovedOutput } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';

/**
 * One turn of a block: a forward, or a backward with the recomputation before it. Turns do not depend on which
 * blocks are recomputed, so that a choice of blocks can be judged block by block (`blocksInBudget`).
 */
interface Turn {
  /** Positions of its first and last instruction. */
  readonly first: number;
  readonly last: number;
  readonly instruction: Computation;
}

type Computation = Instruction<'forward' | 'recompute' | 'backward'>;

/** A kept input, the turn that uses it last on the way forward and the one that needs it again. */
interface KeptInput {
  readonly value: MovedOutput;
  readonly usedIn: number;
  readonly neededIn: number;
}

/**
 * Host memory for what recomputed blocks keep (DeepSpeed: activation_checkpointing.cpu_checkpointing): the input
 * of each, which is the output of the block before, is evicted once its forward has used it, under the turn that
 * follows, and fetched under the turn before the one that recomputes it. What would be wanted back before it was
 * gone for a whole turn stays, which is the case at the change from forward to backward.
 *
 * The input of a block that keeps its graph is a part of that graph and stays too.
 */
export const offloadKeptInputs: Pass = (program) => {
  const turns = turnsOf(program.instructions);
  const moved = keptInputs(turns).filter(isAwayForATurn);
  if (moved.length === 0) return program;

  const leaving = new Map(moved.map(({ value, usedIn }) => [usedIn, value]));
  const returning = new Map(moved.map(({ value, neededIn }) => [neededIn, value]));
  const beginning = new Map(turns.map(({ first }, turn) => [first, turn]));
  const ending = new Map(turns.map(({ last }, turn) => [last, turn]));
  const instructions = program.instructions.flatMap((instruction, position): readonly Instruction[] => {
    const begun = beginning.get(position);
    const ended = ending.get(position);
    return [
      ...(begun === undefined ? [] : waitFor('fetch', returning.get(begun))),
      ...(begun === undefined ? [] : start('fetch', returning.get(begun + 1))),
      instruction,
      ...(ended === undefined ? [] : start('evict', leaving.get(ended))),
      ...(ended === undefined ? [] : waitFor('evict', leaving.get(ended - 1))),
    ];
  });
  return { ...program, instructions, features: [...program.features, featureOf(moved)] };
};

function turnsOf(instructions: Program['instructions']): readonly Turn[] {
  const turns: Turn[] = [];
  for (const [position, instruction] of instructions.entries()) {
    const { op } = instruction;
    if (op !== 'forward' && op !== 'recompute' && op !== 'backward') continue;
    const previous = turns.at(-1);
    const isPrepared =
      op === 'backward' &&
      previous?.instruction.op === 'recompute' &&
      keyOf(previous.instruction) === keyOf(instruction);
    if (isPrepared) turns.splice(-1, 1, { ...previous, last: position });
    else turns.push({ first: position, last: position, instruction });
  }
  return turns;
}

/** The inputs of recomputed blocks that are outputs of others. */
function keptInputs(turns: readonly Turn[]): readonly KeptInput[] {
  const dropped = new Map<string, number>();
  return turns.flatMap(({ instruction }, index): readonly KeptInput[] => {
    if (instruction.op === 'forward' && instruction.drop) dropped.set(keyOf(instruction), index);
    const usedIn = dropped.get(keyOf(instruction));
    const { op, block, micro } = instruction;
    if (op !== 'recompute' || block === 0 || usedIn === undefined) return [];
    return [{ value: { memory: 'output', block: block - 1, micro }, usedIn, neededIn: index }];
  });
}

/** Whether there is a turn between the one under which it leaves and the one under which it comes back. */
function isAwayForATurn({ usedIn, neededIn }: KeptInput): boolean {
  return usedIn + 1 < neededIn - 2;
}

function start(op: 'evict' | 'fetch', value: MovedOutput | undefined): readonly Instruction[] {
  return value === undefined ? [] : [{ op, ...value }];
}

function waitFor(op: 'evict' | 'fetch', value: MovedOutput | undefined): readonly Instruction[] {
  return value === undefined ? [] : [{ op: 'wait', started: { op, ...value } }];
}

function keyOf({ block, micro }: Computation): string {
  return `${block} ${micro}`;
}

function featureOf(moved: readonly KeptInput[]): string {
  const blocks = new Set(moved.map(({ value }) => value.block));
  return `${blocks.size} kept input${blocks.size === 1 ? '' : 's'} on the host`;
}

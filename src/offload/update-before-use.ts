import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';
import { updatedBlocks } from '../step/sharding.js';

/**
 * Leaves the update of each step to the next one, which makes it block by block: each before its weights are used for the
 * first time, and the next one's tiles are read and written while blocks compute. All that decides about an update, the
 * norm of all gradients above all, is known before it begins, and no block computes with weights that lack it: the
 * mathematics are those of an update at the end of a step.
 *
 * Gradients and tally are cleared once the update has read them, which is before anything is added to them.
 */
export const updateBeforeUse: Pass = (program) => {
  const writer = new Writer(program);
  for (const instruction of gathersInTurn(program)) writer.add(instruction);
  return { ...program, instructions: writer.instructions };
};

class Writer {
  readonly instructions: Instruction[] = [];
  /** Blocks with something to update, in the order of the model. */
  readonly #blocks: readonly number[];
  /** How many of their updates have started, and how many are through. */
  #started = 0;
  #through = 0;
  #clear: Instruction<'clear'> | undefined;

  constructor(program: Program) {
    this.#blocks = updatedBlocks(program);
  }

  add(instruction: Instruction): void {
    if (instruction.op === 'clear') {
      this.#clear = instruction;
      this.#clearOnceThrough();
      return;
    }
    if (instruction.op === 'step') {
      this.#finishTo(this.#blocks.length);
      this.instructions.push({ ...instruction, left: true });
      return;
    }
    const block = readFrom(instruction);
    if (block !== undefined) this.#finishTo(this.#blocks.indexOf(block) + 1);
    this.instructions.push(instruction);
    // Goes on under what computes before the next block is used.
    if (block !== undefined && this.#started === this.#through) this.#start();
  }

  /** The updates of so many blocks. */
  #finishTo(count: number): void {
    while (this.#through < count) this.#finish();
  }

  #start(): void {
    const block = this.#blocks[this.#started];
    if (block === undefined) return;
    this.#started += 1;
    this.instructions.push(update(block));
  }

  #finish(): void {
    if (this.#started === this.#through) this.#start();
    const block = this.#blocks[this.#through];
    if (block === undefined) return;
    this.#through += 1;
    this.instructions.push({ op: 'wait', started: update(block) });
    this.#clearOnceThrough();
  }

  #clearOnceThrough(): void {
    if (this.#clear === undefined || this.#through < this.#blocks.length) return;
    this.instructions.push(this.#clear);
    this.#clear = undefined;
  }
}

/** The block whose own slice an instruction reads. */
function readFrom(instruction: Instruction): number | undefined {
  switch (instruction.op) {
    case 'fetch':
      return instruction.memory === 'parameters' ? instruction.block : undefined;
    case 'gather':
      return instruction.of === undefined && instruction.from === undefined ? instruction.block : undefined;
    default:
      return undefined;
  }
}

/**
 * Where parameters are kept, all gathers start with the step. They would all wait for the whole update: each starts before
 * the block in front of its own runs instead.
 */
function gathersInTurn({ instructions, sharding }: Program): readonly Instruction[] {
  if (sharding?.parameters !== 'kept') return instructions;
  const leading = instructions.findIndex(({ op }) => op !== 'gather');
  const [first, ...others] = instructions.slice(0, leading);
  const inTurn = instructions.slice(leading).flatMap((instruction): readonly (Instruction | undefined)[] => {
    const isAwaited = instruction.op === 'wait' && instruction.started.op === 'gather';
    return isAwaited ? [instruction, others.shift()] : [instruction];
  });
  return [first, ...inTurn].filter((instruction) => instruction !== undefined);
}

function update(block: number): Instruction<'update'> {
  return { op: 'update', block };
}

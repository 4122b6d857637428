import type { Instruction } from '../step/instruction.js';
import type { Pass, Program, Sharding } from '../step/program.js';
import { blockFinishedBy, blocksUsedBy } from '../step/sharding.js';

/**
 * Sums gradients into the slices of the ranks that own them, by reduce-scatter: a block's parts start after
 * the last backward that adds to it, and are waited for before the ranks agree. Where gradients are not kept
 * (stage 2), a block's memory is allocated before the first backward that adds to it, and freed when its last part
 * has arrived; a further micro-batch that needs it waits for that.
 */
export const scatterGradients: Pass = (program) => {
  const { sharding } = program;
  if (sharding === undefined) return program;
  const writer = new Writer(program, sharding);
  for (const [position, instruction] of program.instructions.entries()) writer.add(instruction, position);
  return { ...program, instructions: writer.instructions };
};

/** Writes the new list of instructions and knows which reductions are on their way at its end. */
class Writer {
  readonly instructions: Instruction[] = [];
  readonly #inFlight: Instruction<'scatter'>[] = [];
  readonly #prepared = new Set<number>();
  readonly #lastBackwards: ReadonlyMap<string, number>;

  constructor(
    readonly program: Program,
    readonly sharding: Sharding,
  ) {
    this.#lastBackwards = this.#findLastBackwards();
  }

  add(instruction: Instruction, position: number): void {
    if (instruction.op === 'agree') this.#finish(() => false);
    const used = instruction.op === 'backward' ? blocksUsedBy(instruction.block, this.program) : [];
    if (instruction.op === 'backward') for (const block of used) this.#prepare(block, instruction.micro);
    this.instructions.push(instruction);
    for (const { block, micro } of [...this.#finishedBy(instruction)].reverse()) {
      if (this.#lastBackwards.get(this.#key(block, micro)) === position) this.#scatter(block, micro);
    }
  }

  /** The blocks to whose gradients an instruction adds the last of some micro-batch, or of all. */
  #finishedBy(instruction: Instruction): readonly { readonly block: number; readonly micro: number }[] {
    const finished = blockFinishedBy(instruction);
    if (finished === undefined) return [];
    if (instruction.op !== 'backward') return [{ block: finished, micro: 0 }];
    return blocksUsedBy(finished, this.program).map((block) => ({ block, micro: instruction.micro }));
  }

  #prepare(block: number, micro: number): void {
    if (this.sharding.gradients === 'kept') return;
    // Gradients of the micro-batch before may still be on their way out of this memory.
    this.#finish((left) => left.every(({ part }) => this.#blockOf(part) !== block));
    if (this.#prepared.has(block)) return;
    this.#prepared.add(block);
    this.instructions.push({ op: 'prepare', block, ...this.#single(micro) });
  }

  #scatter(block: number, micro: number): void {
    for (const part of this.sharding.parts.keys()) {
      if (this.#blockOf(part) !== block) continue;
      const scatter: Instruction<'scatter'> = { op: 'scatter', part, ...this.#single(micro) };
      this.instructions.push(scatter);
      this.#inFlight.push(scatter);
    }
  }

  /** Waits for one reduction after the other, the oldest first, until those left are as they should be. */
  #finish(isEnough: (left: readonly Instruction<'scatter'>[]) => boolean): void {
    while (!isEnough(this.#inFlight)) {
      const started = this.#inFlight.shift();
      if (started === undefined) return;
      this.instructions.push({ op: 'wait', started });
      const block = this.#blockOf(started.part);
      const isLast = this.#blockOf(started.part + 1) !== block;
      if (block === undefined || !isLast || this.sharding.gradients === 'kept') continue;
      this.#prepared.delete(block);
      const micro = started.micro === undefined ? {} : { micro: started.micro };
      this.instructions.push({ op: 'release', block, memory: 'gradients', ...micro });
    }
  }

  #blockOf(part: number): number | undefined {
    return this.sharding.parts[part]?.block;
  }

  /** By block, and micro-batch where each is summed by itself: the position of the last backward that adds to it. */
  #findLastBackwards(): ReadonlyMap<string, number> {
    const last = new Map<string, number>();
    for (const [position, instruction] of this.program.instructions.entries()) {
      for (const { block, micro } of this.#finishedBy(instruction))
        last.set(this.#key(block, micro), position);
    }
    return last;
  }

  /** The micro-batch, where each is summed by itself. */
  #single(micro: number): { readonly micro?: number } {
    return this.sharding.reductions === 'every micro-batch' ? { micro } : {};
  }

  #key(block: number, micro: number): string {
    return this.sharding.reductions === 'every micro-batch' ? `${block} ${micro}` : String(block);
  }
}

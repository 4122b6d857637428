import type { Instruction } from '../step/instruction.js';
import type { Pass, Program, Sharding } from '../step/program.js';
import { blocksUsedBy } from '../step/sharding.js';

export interface ScatterGradientsOptions {
  /** Let backward go on under a reduction (DeepSpeed: overlap_comm). */
  readonly overlap: boolean;
}

/** Reductions that are on their way at once: one that travels, one that is ready to. Bounds their memory. */
const MOST_IN_FLIGHT = 2;

/**
 * Sums gradients into the slices of the ranks that own them, by reduce-scatter: a block's parts start after
 * the last backward that adds to it. Where gradients are not kept (stage 2), a block's memory is allocated
 * before the first backward that adds to it, and freed when its last part has arrived.
 */
export function scatterGradients({ overlap }: ScatterGradientsOptions): Pass {
  return (program) => {
    const { sharding } = program;
    if (sharding === undefined) return program;
    const writer = new Writer(program, sharding, overlap ? MOST_IN_FLIGHT : 0);
    for (const [position, instruction] of program.instructions.entries()) writer.add(instruction, position);
    return { ...program, instructions: writer.instructions };
  };
}

/** Writes the new list of instructions and knows which reductions are on their way at its end. */
class Writer {
  readonly instructions: Instruction[] = [];
  readonly #inFlight: Instruction<'scatter'>[] = [];
  readonly #prepared = new Set<number>();
  readonly #lastBackwards: ReadonlyMap<string, number>;

  constructor(
    readonly program: Program,
    readonly sharding: Sharding,
    readonly mostInFlight: number,
  ) {
    this.#lastBackwards = this.#findLastBackwards();
  }

  add(instruction: Instruction, position: number): void {
    if (instruction.op === 'agree') this.#finish(0);
    const used = instruction.op === 'backward' ? blocksUsedBy(instruction.block, this.program) : [];
    if (instruction.op === 'backward') for (const block of used) this.#prepare(block, instruction.micro);
    this.instructions.push(instruction);
    if (instruction.op !== 'backward') return;
    for (const block of [...used].reverse()) {
      if (this.#lastBackwards.get(this.#key(block, instruction.micro)) === position) {
        this.#scatter(block, instruction.micro);
      }
    }
  }

  #prepare(block: number, micro: number): void {
    if (this.sharding.gradients === 'kept') return;
    // Gradients of the micro-batch before may still be on their way out of this memory.
    while (this.#inFlight.some(({ part }) => this.sharding.parts[part]?.block === block)) {
      this.#finish(this.#inFlight.length - 1);
    }
    if (this.#prepared.has(block)) return;
    this.#prepared.add(block);
    this.instructions.push({ op: 'prepare', block, ...this.#single(micro) });
  }

  #scatter(block: number, micro: number): void {
    for (const [part, { block: owner }] of this.sharding.parts.entries()) {
      if (owner !== block) continue;
      const scatter: Instruction<'scatter'> = { op: 'scatter', part, ...this.#single(micro) };
      this.#finish(Math.max(0, this.mostInFlight - 1));
      this.instructions.push(scatter);
      this.#inFlight.push(scatter);
      if (this.mostInFlight === 0) this.#finish(0);
    }
  }

  /** Waits until no more than so many reductions are on their way. */
  #finish(remaining: number): void {
    while (this.#inFlight.length > remaining) {
      const started = this.#inFlight.shift();
      if (started === undefined) return;
      this.instructions.push({ op: 'wait', started });
      const block = this.sharding.parts[started.part]?.block;
      const micro = started.micro === undefined ? {} : { micro: started.micro };
      const isLast = this.sharding.parts[started.part + 1]?.block !== block;
      if (block === undefined || !isLast || this.sharding.gradients === 'kept') continue;
      this.#prepared.delete(block);
      this.instructions.push({ op: 'release', block, memory: 'gradients', ...micro });
    }
  }

  /** By block, and micro-batch where each is summed by itself: the position of the last backward that adds to it. */
  #findLastBackwards(): ReadonlyMap<string, number> {
    const last = new Map<string, number>();
    for (const [position, instruction] of this.program.instructions.entries()) {
      if (instruction.op !== 'backward') continue;
      for (const block of blocksUsedBy(instruction.block, this.program)) {
        last.set(this.#key(block, instruction.micro), position);
      }
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

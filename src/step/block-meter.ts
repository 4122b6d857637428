import { allocatedBytes, peakAllocatedBytes, resetPeakAllocatedBytes } from '../tensor/memory.js';
import type { TimedInstruction } from './executor.js';
import type { Instruction } from './instruction.js';
import type { Program, Workspace } from './program.js';

/** What a block takes for one micro-batch, as it was measured. */
export interface BlockCosts {
  /** What forward keeps for backward, its output included. */
  readonly activationBytes: number;
  readonly outputBytes: number;
  readonly workspace: Workspace;
  /** What the first half of its backward left for the second, where it came in halves. */
  readonly deferredBytes?: number;
  /** Time of a forward that keeps what backward needs. */
  readonly forwardMs: number;
}

/** Of a backward in halves, where there was one. */
interface HalvesCosts {
  readonly deferredBytes: number;
  readonly workspace: Pick<Workspace, 'backwardInput' | 'backwardWeights'>;
}

/** What one instruction did to memory, in bytes. */
interface Measurement {
  readonly before: number;
  readonly after: number;
  readonly peak: number;
  readonly milliseconds: number;
}

/**
 * Measures what each block takes while a program runs in which every block is recomputed: such a program
 * shows a block's output, what it keeps and its workspaces apart from each other. The peak of allocated
 * bytes is reset with every instruction, and kept here.
 *
 * Host memory alone is measured. On another device everything but the times stays zero.
 */
export class BlockMeter {
  /** The most bytes that were allocated since the meter was made. */
  peakBytes: number;
  readonly #program: Program;
  readonly #measurements = new Map<string, Measurement>();
  #before: number;

  constructor(program: Program) {
    this.#program = program;
    this.#before = allocatedBytes();
    this.peakBytes = this.#before;
    resetPeakAllocatedBytes();
  }

  /** To be told of every instruction once it has run. */
  readonly record = ({ position, startMs, endMs }: TimedInstruction): void => {
    const [before, after, peak] = [this.#before, allocatedBytes(), peakAllocatedBytes()];
    const instruction = this.#program.instructions[position];
    if (instruction !== undefined && 'block' in instruction) {
      const op = instruction.op === 'backward' ? keyOfBackward(instruction.half) : instruction.op;
      // Of several micro-batches the last one counts: the first finds tables unmade that stay for good.
      this.#measurements.set(`${op} ${instruction.block}`, {
        before,
        after,
        peak,
        milliseconds: endMs - startMs,
      });
    }
    this.peakBytes = Math.max(this.peakBytes, peak);
    this.#before = after;
    resetPeakAllocatedBytes();
  };

  /** One for each block of the program, in order. */
  costs(): readonly BlockCosts[] {
    const outputs = this.#program.blocks.map((_, block) => growth(this.#of('forward', block)));
    return outputs.map((outputBytes, block) => {
      const forward = this.#of('forward', block);
      const recompute = this.#of('recompute', block);
      const halves = this.#halves(block, growth(recompute), outputs[block - 1] ?? 0);
      return {
        outputBytes,
        // The first output was freed before the second was made.
        activationBytes: outputBytes + growth(recompute),
        workspace: {
          forward: Math.max(0, recompute.peak - Math.max(recompute.before, recompute.after)),
          drop: Math.max(0, forward.peak - forward.after),
          backward: Math.max(0, rise(this.#of('backward', block)) - (outputs[block - 1] ?? 0)),
          ...halves?.workspace,
        },
        ...(halves && { deferredBytes: halves.deferredBytes }),
        forwardMs: recompute.milliseconds,
      };
    });
  }

  /**
   * What waits is what goes with the half for the weights.
   *
   * @param graphBytes what turns into it
   * @param leaving the gradient of its input
   */
  #halves(block: number, graphBytes: number, leaving: number): HalvesCosts | undefined {
    const [input, weights] = HALVES.map((half) => this.#measurements.get(`${keyOfBackward(half)} ${block}`));
    if (input === undefined || weights === undefined) return undefined;
    const deferredBytes = growth({ before: weights.after, after: weights.before });
    const grown = Math.max(0, deferredBytes - graphBytes);
    return {
      deferredBytes,
      workspace: {
        backwardInput: Math.max(0, rise(input) - leaving - grown),
        backwardWeights: rise(weights),
      },
    };
  }

  #of(op: string, block: number): Measurement {
    return this.#measurements.get(`${op} ${block}`) ?? { before: 0, after: 0, peak: 0, milliseconds: 0 };
  }
}

const HALVES = ['input', 'weights'] as const;

function keyOfBackward(half: Instruction<'backward'>['half']): string {
  return half === undefined ? 'backward' : `backward ${half}`;
}

function growth({ before, after }: Pick<Measurement, 'before' | 'after'>): number {
  return Math.max(0, after - before);
}

/** The most that it took while it ran. */
function rise({ before, peak }: Measurement): number {
  return Math.max(0, peak - before);
}

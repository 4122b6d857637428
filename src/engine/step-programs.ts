import type { ProcessGroup } from '../comm/process-group.js';
import { type BlockCosts, BlockMeter } from '../step/block-meter.js';
import type { MemoryPeak } from '../step/checker/data-flow.js';
import { initialValues } from '../step/effects/initial-values.js';
import type { TimedInstruction } from '../step/executor.js';
import type { Program } from '../step/program.js';
import { allocatedBytes, peakAllocatedBytes, resetPeakAllocatedBytes } from '../tensor/memory.js';
import { type CompiledStep, compileStep, type StepToCompile } from './compile-step.js';
import { gatherBytes, gatherNumbers } from './gather-bytes.js';

type Record = (timed: TimedInstruction) => void;

/**
 * The programs of one rank's steps. As a rule they are one program; where its choice depends on how long things
 * take (recomputation inside a budget), the first step recomputes everything, as nothing is known yet of what
 * that costs, and is measured, and the others run the program that is compiled from that.
 */
export class StepPrograms {
  /** The most bytes of host tensors that were alive during a step so far. */
  measuredPeakBytes = 0;
  readonly #group: ProcessGroup;
  readonly #step: StepToCompile;
  #compiled: CompiledStep;
  #awaitsMeasurement: boolean;

  constructor(group: ProcessGroup, step: StepToCompile) {
    this.#group = group;
    this.#step = step;
    this.#awaitsMeasurement = step.config.recompute.policy === 'budget';
    this.#compiled = compileStep(
      this.#awaitsMeasurement ? { ...step, recomputed: new Set(step.model.blocks.keys()) } : step,
    );
  }

  /** The program of the next step. */
  get program(): Program {
    return this.#compiled.program(this.#group.rank);
  }

  /** Those of all ranks. */
  get programs(): readonly Program[] {
    return this.#compiled.programs;
  }

  /** When the program has most bytes alive, one per rank. */
  get predictedPeaks(): readonly MemoryPeak[] {
    return this.#compiled.reports.map(({ peak }) => peak);
  }

  /** Runs a step: `body` executes the program and tells `record` of every instruction. */
  run<Result>(
    record: Record | undefined,
    body: (program: Program, record: Record | undefined) => Result,
  ): Result {
    if (this.#awaitsMeasurement) return this.#runMeasured(record, body);
    resetPeakAllocatedBytes();
    const result = body(this.program, record);
    this.#sawPeak(peakAllocatedBytes());
    return result;
  }

  #runMeasured<Result>(
    record: Record | undefined,
    body: (program: Program, record: Record | undefined) => Result,
  ): Result {
    const unlisted = allocatedBytes() - listedBytes(this.program);
    const meter = new BlockMeter(this.program);
    const result = body(this.program, (timed) => {
      meter.record(timed);
      record?.(timed);
    });
    this.#sawPeak(meter.peakBytes);
    this.#compiled = compileStep({
      ...this.#step,
      measured: this.#agree(meter.costs()),
      unlistedBytes: Math.max(0, ...gatherNumbers(this.#group, unlisted)),
    });
    this.#awaitsMeasurement = false;
    return result;
  }

  #sawPeak(bytes: number): void {
    this.measuredPeakBytes = Math.max(this.measuredPeakBytes, bytes);
  }

  /** All ranks must compile the same programs: of each block the longest time on any rank counts. */
  #agree(costs: readonly BlockCosts[]): readonly BlockCosts[] {
    const own = new Uint8Array(Float64Array.from(costs, ({ forwardMs }) => forwardMs).buffer);
    const times = gatherBytes(this.#group, own).map((bytes) => new Float64Array(bytes.slice().buffer));
    return costs.map((cost, block) => ({
      ...cost,
      forwardMs: Math.max(...times.map((ofRank) => ofRank[block] ?? 0)),
    }));
  }
}

/** What the program says is there before its first instruction. */
function listedBytes(program: Program): number {
  return initialValues(program).reduce((sum, { memory }) => sum + (memory?.bytes ?? 0), 0);
}

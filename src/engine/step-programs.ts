import type { ProcessGroup } from '../comm/process-group.js';
import { type BlockCosts, BlockMeter } from '../step/block-meter.js';
import type { MemoryPeak } from '../step/checker/data-flow.js';
import { initialValues } from '../step/effects/initial-values.js';
import type { TimedInstruction } from '../step/executor.js';
import type { Program } from '../step/program.js';
import { allocatedBytes, peakAllocatedBytes, resetPeakAllocatedBytes } from '../tensor/memory.js';
import { type CompiledStep, compileStep, type StepToCompile } from './compile-step.js';
import { gatherNumbers } from './gather-bytes.js';
import { type OptimizerPhase, optimizerPhase } from './optimizer-phase.js';
import { withLongestTimes } from './stage-costs.js';

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
  #measured: readonly BlockCosts[] | undefined;
  #unlistedBytes = 0;
  #phase: OptimizerPhase = 'warm-up';
  /** Whether every rank has the whole momentum, where ranks exchange one. */
  #hasWholeMomentum = false;
  /** Of the programs so far. */
  #predictedPeaks: readonly MemoryPeak[];

  constructor(group: ProcessGroup, step: StepToCompile) {
    this.#group = group;
    this.#step = step;
    this.#awaitsMeasurement = step.config.recompute.policy === 'budget';
    this.#compiled = compileStep(
      this.#awaitsMeasurement ? { ...step, recomputed: new Set(step.model.blocks.keys()) } : step,
    );
    this.#predictedPeaks = peaksOf(this.#compiled);
  }

  /** The program of the next step. */
  get program(): Program {
    return this.#compiled.program(this.#group.rank);
  }

  /** Those of all ranks. */
  get programs(): readonly Program[] {
    return this.#compiled.programs;
  }

  /** When the programs so far had most bytes alive, one per rank. */
  get predictedPeaks(): readonly MemoryPeak[] {
    return this.#predictedPeaks;
  }

  /** Turns to the program of the update after so many. */
  turnTo(updates: number): void {
    const phase = optimizerPhase(this.#step.config, updates, this.#hasWholeMomentum);
    if (phase === this.#phase) return;
    this.#phase = phase;
    this.#compile(this.#awaitsMeasurement ? { recomputed: new Set(this.#step.model.blocks.keys()) } : {});
  }

  /** What optimizers keep was read from a checkpoint: every rank has its slices. */
  loaded(): void {
    this.#hasWholeMomentum = false;
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
    this.#hasWholeMomentum = this.#phase !== 'warm-up';
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
    this.#measured = withLongestTimes(this.#group, meter.costs());
    this.#unlistedBytes = Math.max(0, ...gatherNumbers(this.#group, unlisted));
    this.#awaitsMeasurement = false;
    this.#hasWholeMomentum = this.#phase !== 'warm-up';
    this.#compile();
    return result;
  }

  #compile(choice: Pick<StepToCompile, 'recomputed'> = {}): void {
    this.#compiled = compileStep({
      ...this.#step,
      ...choice,
      ...(this.#measured && { measured: this.#measured }),
      unlistedBytes: this.#unlistedBytes,
      phase: this.#phase,
    });
    this.#predictedPeaks = peaksOf(this.#compiled).map((peak, rank) => {
      const before = this.#predictedPeaks[rank];
      return before !== undefined && before.bytes > peak.bytes ? before : peak;
    });
  }

  #sawPeak(bytes: number): void {
    this.measuredPeakBytes = Math.max(this.measuredPeakBytes, bytes);
  }
}

function peaksOf({ reports }: CompiledStep): readonly MemoryPeak[] {
  return reports.map(({ peak }) => peak);
}

/** What the program says is there before its first instruction. */
function listedBytes(program: Program): number {
  return initialValues(program).reduce((sum, { memory }) => sum + (memory?.bytes ?? 0), 0);
}

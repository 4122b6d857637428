import { invariant } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { type BlockCosts, BlockMeter } from '../step/block-meter.js';
import type { MemoryPeak } from '../step/checker/data-flow.js';
import { initialValues } from '../step/effects/initial-values.js';
import type { TimedInstruction } from '../step/executor.js';
import type { Program } from '../step/program.js';
import { allocatedBytes, peakAllocatedBytes, resetPeakAllocatedBytes } from '../tensor/memory.js';
import { type CompiledStep, compileStep, type StepToCompile, tryBlocks } from './compile-step.js';
import { gatherNumbers } from './gather-bytes.js';
import { withLongestTimes } from './stage-costs.js';
import { FIRST_TURN, knownTurns, nextTurn, type RunPosition, type StepTurn, turnName } from './step-turn.js';

type Record = (timed: TimedInstruction) => void;

/**
 * The programs of one rank's steps. As a rule they are one program. Replicas that meet now and then have a second one for
 * the steps in which they do; an optimizer that changes its ways has one for each of them. Where a choice depends on how
 * long things take (recomputation inside a budget), the first step recomputes everything, as nothing is known yet of
 * what that costs, and is measured, and the others run the program that is compiled from that.
 */
export class StepPrograms {
  /** The most bytes of host tensors that were alive during a step so far. */
  measuredPeakBytes = 0;
  readonly #group: ProcessGroup;
  readonly #step: StepToCompile;
  readonly #compiled = new Map<string, CompiledStep>();
  #turn: StepTurn = FIRST_TURN;
  #awaitsMeasurement: boolean;
  #measured: readonly BlockCosts[] | undefined;
  #unlistedBytes = 0;
  /** Whether every rank has the whole momentum, where ranks exchange one. */
  #hasWholeMomentum = false;
  /** Of the programs so far. */
  #predictedPeaks: readonly MemoryPeak[] = [];

  constructor(group: ProcessGroup, step: StepToCompile) {
    this.#group = group;
    const tried = tryBlocks(step);
    const processBytes = process.memoryUsage.rss() - allocatedBytes();
    this.#step = { ...step, tried, processBytes: Math.max(0, ...gatherNumbers(group, processBytes)) };
    this.#awaitsMeasurement = step.config.recompute.policy === 'budget';
    for (const turn of knownTurns(step.config)) this.#demand(turn);
  }

  /** The program of the next step. */
  get program(): Program {
    return this.#current.program(this.#group.rank);
  }

  /** Those of all ranks. */
  get programs(): readonly Program[] {
    return this.#current.programs;
  }

  /** When the programs so far had most bytes alive, one per rank. */
  get predictedPeaks(): readonly MemoryPeak[] {
    return this.#predictedPeaks;
  }

  /** Turns to the program of the step that comes after so many. */
  turnTo(position: Omit<RunPosition, 'hasWholeMomentum'>): void {
    const hasWholeMomentum = this.#hasWholeMomentum;
    this.#turn = nextTurn(this.#step.config, { ...position, hasWholeMomentum });
    this.#demand(this.#turn);
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
    this.#hasWholeMomentum = this.#turn.phase !== 'warm-up';
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
    this.#hasWholeMomentum = this.#turn.phase !== 'warm-up';
    this.#compiled.clear();
    for (const turn of [...knownTurns(this.#step.config), this.#turn]) this.#demand(turn);
    return result;
  }

  get #current(): CompiledStep {
    const compiled = this.#compiled.get(turnName(this.#turn));
    invariant(compiled, 'a program is compiled when a run turns to it');
    return compiled;
  }

  /** Compiles the program of a turn, unless it is there. */
  #demand(turn: StepTurn): void {
    if (this.#compiled.has(turnName(turn))) return;
    const compiled = compileStep({
      ...this.#step,
      ...turn,
      ...(this.#awaitsMeasurement && { recomputed: new Set(this.#step.model.blocks.keys()) }),
      ...(this.#measured && { measured: this.#measured }),
      unlistedBytes: this.#unlistedBytes,
    });
    this.#compiled.set(turnName(turn), compiled);
    this.#predictedPeaks = peaksOf(compiled).map((peak, rank) => {
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

/** What the program says is in memory before its first instruction. */
function listedBytes(program: Program): number {
  return initialValues(program).reduce(
    (sum, { memory }) => sum + (memory === undefined || memory.account === 'nvme' ? 0 : memory.bytes),
    0,
  );
}

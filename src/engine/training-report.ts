import { writeFileSync } from 'node:fs';
import type { EventSink, StepEvent } from '../launch/events.js';
import type { TimedInstruction } from '../step/executor.js';
import { instructionText } from '../step/instruction-text.js';
import type { Program } from '../step/program.js';
import { chromeTrace } from '../step/timeline.js';
import type { ResolvedConfig } from './config.js';
import type { Engine } from './engine.js';
import { findingText, type NonFiniteStep } from './non-finite/guard.js';
import type { StepResult } from './step-result.js';

/** Whose run it is, and who is told. */
export interface TrainingReportOptions {
  readonly config: ResolvedConfig;
  readonly engine: Engine;
  readonly sink: EventSink;
  readonly sequenceLength: number;
  /** The file that a timeline of the last step goes to. */
  readonly timeline?: string | undefined;
}

/** Turns a run into events. Rank 0 speaks for all; every rank says where it is. */
export class TrainingReport {
  readonly #options: TrainingReportOptions;
  #last: StepResult | undefined;
  /** Of the last step, where a timeline is wanted. */
  #times: TimedInstruction[] = [];
  #program: Program | undefined;

  constructor(options: TrainingReportOptions) {
    this.#options = options;
  }

  begin(): void {
    const { config, engine, sink, sequenceLength } = this.#options;
    if (engine.rank !== 0) return;
    sink({
      event: 'start',
      world_size: engine.worldSize,
      parameters: engine.parameterCount,
      ...(engine.frozenParameterCount > 0 && { frozen_parameters: engine.frozenParameterCount }),
      steps: config.steps ?? 0,
      first_step: engine.steps + 1,
      device: config.device,
      tokens_per_step: config.train_batch_size * sequenceLength,
      ...(config.steps_per_print !== undefined && { steps_per_print: config.steps_per_print }),
      ...(config.output !== undefined && { output: config.output }),
    });
  }

  /** Says which instruction comes next, so that a rank that dies or hangs is found at its place. */
  recorder(step: number): (timed: TimedInstruction) => void {
    const { engine, sink, timeline } = this.#options;
    this.#times = [];
    return (timed) => {
      // The engine may turn to another program before a step and after it.
      this.#program = engine.program;
      if (timeline !== undefined) this.#times.push(timed);
      const next = this.#program.instructions[timed.position + 1];
      if (next !== undefined) sink({ event: 'section', step, instruction: instructionText(next) });
    };
  }

  step(result: StepResult): void {
    this.#last = result;
    const { engine, sink } = this.#options;
    if (engine.rank !== 0) return;
    this.#warnOfSkip(result);
    sink({
      event: 'step',
      step: result.step,
      loss: result.loss,
      grad_norm: result.gradientNorm,
      learning_rate: result.learningRate,
      tokens: result.tokens,
      tokens_per_second: result.tokens / (result.milliseconds / 1000),
      step_ms: result.milliseconds,
      exposed_communication_ms: result.exposedCommunicationMs,
      ...(result.exposedOffloadMs !== undefined && { exposed_offload_ms: result.exposedOffloadMs }),
      exchanged_bytes: result.exchangedBytes,
      ...(result.drift && { drift_mean: result.drift.mean, drift_max: result.drift.max }),
      skipped: result.skipped,
      skipped_steps: result.skippedSteps,
      loss_scale: result.lossScale,
      ...(result.overflow !== undefined && { overflow: result.overflow }),
      ...(result.nonFinite && { non_finite: eventOf(result.nonFinite) }),
      memory_bytes: process.memoryUsage.rss(),
    });
  }

  /** Tells of checkpoints that are there now. */
  checkpoints(): void {
    const { engine, sink } = this.#options;
    for (const { step, folder, bytes, stallMs, totalMs, removed } of engine.takeSaved()) {
      if (engine.rank !== 0) continue;
      sink({
        event: 'checkpoint',
        step,
        path: folder,
        bytes,
        stall_ms: stallMs,
        total_ms: totalMs,
        removed,
      });
    }
  }

  /** The run has gone back to a checkpoint. */
  rewound(): void {
    const { engine, sink } = this.#options;
    if (engine.rank !== 0) return;
    const message = `back to the checkpoint of step ${engine.steps}: training goes on without that batch`;
    sink({ event: 'log', level: 'warning', message });
  }

  #warnOfSkip({ step, overflow, lossScale, nonFinite }: StepResult): void {
    if (overflow === undefined) return;
    if (nonFinite !== undefined) {
      const { decision, diagnosis, bundle } = nonFinite;
      const kept = bundle === undefined ? '' : `; trainyard replay ${bundle}`;
      const message = `step ${step} is not finite (${decision}): ${findingText(diagnosis)}${kept}`;
      this.#options.sink({ event: 'log', level: 'warning', message });
      return;
    }
    const scaled = lossScale === 1 ? '' : ` at loss scale ${lossScale}`;
    const message = `step ${step} is skipped: the gradient of ${overflow} is not finite${scaled}`;
    this.#options.sink({ event: 'log', level: 'warning', message });
  }

  #writeTimeline(): void {
    const { engine, timeline } = this.#options;
    if (timeline === undefined || this.#program === undefined) return;
    const slices = engine.timeline(this.#program, this.#times);
    if (engine.rank === 0) writeFileSync(timeline, JSON.stringify(chromeTrace(slices)));
  }

  /** Every rank must call it: the ranks tell each other their peak memory. */
  finish(stopped: boolean): void {
    const { config, engine, sink } = this.#options;
    this.#writeTimeline();
    const peaks = engine.peakMemory();
    const predicted = engine.predictedPeaks();
    const measured = engine.measuredPeakBytes();
    if (engine.rank !== 0) return;
    sink({
      event: 'end',
      steps: engine.steps,
      loss: this.#last?.loss ?? Number.NaN,
      peak_memory_bytes: peaks,
      predicted_peak_bytes: predicted.map(({ bytes }) => bytes),
      ...(measured !== undefined && { measured_peak_bytes: measured }),
      memory_ledger: predicted.map(({ ledger }) => ledger),
      ...(config.output !== undefined && { output: config.output }),
      ...(stopped && { stopped }),
    });
  }
}

function eventOf({ decision, diagnosis, bundle }: NonFiniteStep): NonNullable<StepEvent['non_finite']> {
  const { first } = diagnosis;
  return {
    decision,
    ...(first && { rank: first.rank, module: first.module, tensor: first.tensor, value: first.value }),
    ...(bundle !== undefined && { bundle }),
  };
}

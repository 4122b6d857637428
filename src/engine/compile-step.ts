import { invariant } from '../base/errors.js';
import type { Model } from '../nn/block.js';
import type { FlatLayout } from '../nn/flat-layout.js';
import { optimizerStateCount } from '../optim/optimizer.js';
import { checkPrograms, type ProgramReport } from '../step/checker.js';
import { estimateActivations } from '../step/estimate-activations.js';
import type { Program } from '../step/program.js';
import { compileProgram } from './compile-program.js';
import type { ResolvedConfig } from './config.js';

/** What a step is compiled from. */
export interface StepToCompile {
  readonly config: ResolvedConfig;
  readonly model: Model;
  readonly layout: FlatLayout;
  readonly goal: Program['goal'];
  readonly sequenceLength: number;
}

const FLOAT32_BYTES = 4;
const INT64_BYTES = 8;

/** The sequence length of a run whose configuration says none: the model's longest, at most 1024. */
export function defaultSequenceLength(model: Model): number {
  return Math.min(1024, model.maximumLength ?? 1024);
}

/** The step programs of all ranks, checked against each other. */
export interface CompiledStep {
  readonly programs: readonly Program[];
  readonly reports: readonly ProgramReport[];
  program(rank: number): Program;
}

/**
 * Compiles the step programs of all ranks and checks them together.
 *
 * @throws TrainyardError PROGRAM_INVALID when one could not run.
 */
export function compileStep(step: StepToCompile): CompiledStep {
  const programs = Array.from({ length: step.config.data_parallel_size }, (_, rank) =>
    compileForRank(step, rank),
  );
  return {
    programs,
    reports: checkPrograms(programs),
    program(rank) {
      const program = programs[rank];
      invariant(program, `rank ${rank} has no program`);
      return program;
    },
  };
}

function compileForRank(
  { config, model, layout, goal, sequenceLength }: StepToCompile,
  rank: number,
): Program {
  const tokens = config.train_micro_batch_size_per_gpu * sequenceLength;
  const estimates = estimateActivations(model.blocks, tokens, FLOAT32_BYTES);
  const { zero_optimization: zero, gradient_clipping: clipping, optimizer } = config;
  return compileProgram({
    rank,
    worldSize: config.data_parallel_size,
    goal,
    microBatches: config.gradient_accumulation_steps,
    blocks: model.blocks.map(({ name }, index) => {
      const estimate = estimates[index];
      invariant(estimate, `block ${index} has no estimate`);
      return { name, ...estimate };
    }),
    layout,
    bytesPerElement: FLOAT32_BYTES,
    batchBytes: 2 * tokens * INT64_BYTES,
    optimizerBytes: optimizerStateCount(optimizer) * layout.trainableElements * FLOAT32_BYTES,
    schedule: clipping === 0 ? {} : { maximumNorm: clipping },
    gradients: { bucketElements: zero.reduce_bucket_size, overlap: zero.overlap_comm },
  });
}

import { agreeOverStages } from '../../src/pipeline/agree-over-stages.js';
import type { ScheduleName } from '../../src/pipeline/schedule.js';
import { scheduleStages } from '../../src/pipeline/schedule-stages.js';
import { emptyProgram } from '../../src/step/empty-program.js';
import type { Program, ProgramBlock } from '../../src/step/program.js';

/** A pipeline whose chunks are alike: so many blocks each. */
export interface PipelineCase {
  readonly schedule: ScheduleName;
  readonly stages: number;
  readonly chunks: number;
  readonly microBatches: number;
  /** Left out: 1. */
  readonly blocksPerChunk?: number;
  /** What every block is like. */
  readonly block?: Partial<ProgramBlock>;
}

/** The programs of all stages, as they are without data parallelism. */
export function pipelinePrograms(pipeline: PipelineCase): readonly Program[] {
  return Array.from({ length: pipeline.stages }, (_, stage) =>
    agreeOverStages(scheduleStages({ schedule: pipeline.schedule })(emptyStage(pipeline, stage))),
  );
}

/** A stage's program before the first pass. */
export function emptyStage(pipeline: PipelineCase, stage: number): Program {
  const { stages, chunks, microBatches, blocksPerChunk = 1, block } = pipeline;
  const blocks = Array.from({ length: stages * chunks * blocksPerChunk }, (_, index) => ({
    name: `block${index}`,
    parameters: [],
    activationBytes: 1,
    outputBytes: 0,
    ...block,
  }));
  const ranks = Array.from({ length: stages }, (_, rank) => rank);
  return emptyProgram({
    rank: stage,
    worldSize: stages,
    microBatches,
    blocks,
    groups: { data: [stage], pipeline: ranks },
    pipeline: {
      stage,
      stages,
      chunks: Array.from({ length: chunks }, (_, chunk) =>
        Array.from(
          { length: blocksPerChunk },
          (__, index) => (chunk * stages + stage) * blocksPerChunk + index,
        ),
      ),
    },
  });
}

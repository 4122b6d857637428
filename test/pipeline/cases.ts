import type { ScheduleName } from '../../src/pipeline/schedule.js';
import type { PipelineCase } from './programs.js';

export const SCHEDULES: readonly ScheduleName[] = ['gpipe', '1f1b', 'interleaved', 'zero-bubble'];

/** The largest pipelines that are proved. */
export const MOST = { stages: 8, chunks: 4, microBatches: 32 } as const;

/** Every schedule on every pipeline up to that size, the smallest first. */
export function allCases(schedules = SCHEDULES): readonly PipelineCase[] {
  return schedules.flatMap((schedule) =>
    upTo(MOST.stages).flatMap((stages) =>
      upTo(schedule === 'interleaved' ? MOST.chunks : 1).flatMap((chunks) =>
        upTo(MOST.microBatches).map((microBatches) => ({ schedule, stages, chunks, microBatches })),
      ),
    ),
  );
}

function upTo(most: number): readonly number[] {
  return Array.from({ length: most }, (_, index) => index + 1);
}

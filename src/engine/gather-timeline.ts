import type { ProcessGroup } from '../comm/process-group.js';
import type { TimedInstruction } from '../step/executor.js';
import type { Program } from '../step/program.js';
import { measuredSlices, type Slice } from '../step/timeline.js';
import { gatherText } from './gather-bytes.js';

/**
 * What every rank did in a measured step, from when the first of them began, in milliseconds. Ranks of one host share a
 * clock; between hosts theirs may differ. Every rank must call it.
 */
export function gatherTimeline(
  group: ProcessGroup,
  program: Program,
  times: readonly TimedInstruction[],
): readonly Slice[] {
  const own = measuredSlices(program, times).map((slice) => shifted(slice, performance.timeOrigin));
  const all = gatherText(group, JSON.stringify(own)).flatMap((text) => JSON.parse(text) as readonly Slice[]);
  const begin = all.reduce((earliest, { startMs }) => Math.min(earliest, startMs), Number.POSITIVE_INFINITY);
  return all.map((slice) => shifted(slice, -begin));
}

function shifted(slice: Slice, byMs: number): Slice {
  return { ...slice, startMs: slice.startMs + byMs, endMs: slice.endMs + byMs };
}

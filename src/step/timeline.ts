import { effectsOf } from './effects.js';
import type { TimedInstruction } from './executor.js';
import type { Instruction } from './instruction.js';
import { instructionText } from './instruction-text.js';
import type { Program } from './program.js';

/** Something that took time on one rank: an instruction, or a started operation until it was done. */
export interface Slice {
  readonly rank: number;
  readonly stream: Stream;
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  /** Whether the rank only waits meanwhile. */
  readonly isWait?: true;
}

/** A rank computes on one stream while its started operations run on the others. */
export type Stream = 'compute' | 'communication' | 'copy';

/**
 * Slices of a measured step. A started operation is drawn from its start to the end of its wait: nobody
 * looked at it in between, so it may have been done earlier.
 */
export function measuredSlices(program: Program, times: readonly TimedInstruction[]): readonly Slice[] {
  const started = new Map<string, number>();
  return times.flatMap(({ position, startMs, endMs }): readonly Slice[] => {
    const instruction = program.instructions[position];
    if (instruction === undefined) return [];
    const { rank } = program;
    const { starts, completes } = effectsOf(instruction, program);
    if (starts !== undefined) started.set(starts, startMs);
    const slice: Slice = { rank, stream: 'compute', name: instructionText(instruction), startMs, endMs };
    if (completes === undefined) return [slice];
    const waiting: Slice = { ...slice, isWait: true };
    const begun = started.get(completes) ?? startMs;
    return [
      waiting,
      { rank, stream: streamOf(instruction, program), name: completes, startMs: begun, endMs },
    ];
  });
}

/** Where what an instruction does itself or waits for is done. */
function streamOf(instruction: Instruction, program: Program): Stream {
  if (instruction.op !== 'wait') return 'compute';
  return effectsOf(instruction.started, program).copy === undefined ? 'communication' : 'copy';
}

/**
 * Slices as a Chrome trace (chrome://tracing, Perfetto): a process per rank, a thread per stream. Started
 * operations overlap each other, so that they are asynchronous events, each with an identifier of its own.
 */
export function chromeTrace(slices: readonly Slice[]): { readonly traceEvents: readonly object[] } {
  const ranks = [...new Set(slices.map((slice) => slice.rank))].sort((a, b) => a - b);
  const names = ranks.flatMap((rank) => [
    { ph: 'M', name: 'process_name', pid: rank, args: { name: `rank ${rank}` } },
    ...Object.entries(THREADS).map(([name, thread]) => ({
      ph: 'M',
      name: 'thread_name',
      pid: rank,
      tid: thread,
      args: { name },
    })),
  ]);
  return { traceEvents: [...names, ...slices.flatMap(traceEvents)] };
}

const THREADS: { readonly [Name in Stream]: number } = { compute: 0, communication: 1, copy: 2 };

function traceEvents({ rank, stream, name, startMs, endMs }: Slice, index: number): readonly object[] {
  const place = { name, cat: stream, pid: rank, tid: THREADS[stream] };
  const ts = startMs * 1000;
  if (stream === 'compute') return [{ ...place, ph: 'X', ts, dur: (endMs - startMs) * 1000 }];
  return [
    { ...place, ph: 'b', id: index, ts },
    { ...place, ph: 'e', id: index, ts: endMs * 1000 },
  ];
}

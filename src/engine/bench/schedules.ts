import { readFileSync } from 'node:fs';
import { bubbleFraction } from '../../step/bubble.js';
import type { Instruction } from '../../step/instruction.js';
import { instructionText } from '../../step/instruction-text.js';
import type { Program } from '../../step/program.js';
import { simulate } from '../../step/simulator.js';
import type { Slice } from '../../step/timeline.js';
import { compileDescribed, type DescribeOptions } from '../describe-program.js';

/** A schedule as it was measured and as it is simulated from what its blocks took. */
export interface ScheduleTimes {
  readonly measuredMs: number;
  readonly simulatedMs: number;
  /** Time in which ranks stood still, for each unit of time in which they computed. */
  readonly measuredBubble: number;
  readonly simulatedBubble: number;
  /** The most bytes that any stage's program takes. */
  readonly peakBytes: number;
}

/**
 * Compares a measured step with the simulation of its programs, in which every block takes as long as it did in the middle of its
 * micro-batches, and every message as long as the fastest of its kind.
 *
 * @param timeline the file that `train --timeline` has written
 */
export function compareSchedule(options: DescribeOptions, timeline: string): ScheduleTimes {
  const slices = slicesIn(timeline);
  const [compiled] = compileDescribed(options);
  const { programs = [], reports = [] } = compiled ?? {};
  const computing = slices.filter(({ stream, isWait }) => stream === 'compute' && isWait !== true);
  const typical = typicalTimes(programs, computing);
  const messageMs = fastestMessage(slices);
  const simulation = simulate(programs, {
    compute: (instruction, program) => typical.get(keyOf(instruction, program)) ?? 0,
    communicate: () => messageMs,
    send: () => messageMs,
    copy: () => 0,
  });
  return {
    measuredMs:
      Math.max(...slices.map(({ endMs }) => endMs)) - Math.min(...slices.map(({ startMs }) => startMs)),
    simulatedMs: simulation.stepMs,
    measuredBubble: bubbleFraction(slices),
    simulatedBubble: bubbleFraction(simulation.slices),
    peakBytes: Math.max(...reports.map(({ peak }) => peak.bytes)),
  };
}

/** The median time of each kind of instruction on each rank. */
function typicalTimes(
  programs: readonly Program[],
  computing: readonly Slice[],
): ReadonlyMap<string, number> {
  const keys = new Map(
    programs.flatMap((program) =>
      program.instructions.map((each): [string, string] => [
        `${program.rank} ${instructionText(each)}`,
        keyOf(each, program),
      ]),
    ),
  );
  const times = new Map<string, number[]>();
  for (const { rank, name, startMs, endMs } of computing) {
    const key = keys.get(`${rank} ${name}`);
    if (key !== undefined) times.set(key, [...(times.get(key) ?? []), endMs - startMs]);
  }
  return new Map([...times].map(([key, each]) => [key, median(each)]));
}

/** What takes as long in every micro-batch. */
function keyOf(instruction: Instruction, { rank }: Program): string {
  const half = instruction.op === 'backward' ? (instruction.half ?? 'both') : '';
  return [rank, instruction.op, 'block' in instruction ? instruction.block : '', half].join(' ');
}

/**
 * A message is on its way from when both sides have begun: who receives has often begun long before there was anything to
 * send.
 */
function fastestMessage(slices: readonly Slice[]): number {
  const moved = (name: string): string => name.replace(/^\w+ /, '').replace(/ (to|from) rank \d+$/, '');
  const messages = slices.filter(({ stream }) => stream === 'communication');
  const sentAt = new Map(
    messages.flatMap(({ name, startMs }) =>
      name.startsWith('send') ? [[moved(name), startMs] as const] : [],
    ),
  );
  return messages.reduce((least, { name, startMs, endMs }) => {
    if (!name.startsWith('receive')) return least;
    return Math.min(least, endMs - Math.max(startMs, sentAt.get(moved(name)) ?? startMs));
  }, Number.POSITIVE_INFINITY);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** What the trace says, without what only its viewers need. */
function slicesIn(file: string): readonly Slice[] {
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as {
    readonly traceEvents: readonly TraceEvent[];
  };
  const begun = new Map<number, number>();
  return traceEvents.flatMap(({ ph, name, cat, pid, ts = 0, dur = 0, id = 0 }): readonly Slice[] => {
    if (ph === 'b') begun.set(id, ts);
    if (ph === 'X') {
      const isWait = name.startsWith('wait ') && { isWait: true as const };
      return [
        { rank: pid, stream: 'compute', name, startMs: ts / 1000, endMs: (ts + dur) / 1000, ...isWait },
      ];
    }
    if (ph !== 'e' || cat !== 'communication') return [];
    return [{ rank: pid, stream: cat, name, startMs: (begun.get(id) ?? ts) / 1000, endMs: ts / 1000 }];
  });
}

interface TraceEvent {
  readonly ph: string;
  readonly name: string;
  readonly cat?: string;
  readonly pid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly id?: number;
}

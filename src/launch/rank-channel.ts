import { writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { SUPERVISED_VARIABLE } from './environment.js';
import { type EventSink, encodeEvent } from './events.js';
import { FlightRecorder } from './flight-record.js';
import type { Variables } from './variables.js';

/** The file descriptors that a supervisor hands to its ranks, beside stdin, stdout and stderr. */
export const RANK_DESCRIPTORS = { events: 3, lifeline: 4, record: 5 } as const;

/**
 * Connects a rank to the supervisor that started it: takes events to it, and ties this process's life to
 * the supervisor's. Undefined when there is no supervisor.
 */
export function openRankChannel(variables: Variables): EventSink | undefined {
  if (variables[SUPERVISED_VARIABLE] !== '1') return undefined;
  watchLifeline();
  const recorder = new FlightRecorder(RANK_DESCRIPTORS.record);
  return (event) => {
    if (event.event === 'section') recorder.write(event.step, event.instruction);
    else writeLine(`${encodeEvent(event)}\n`);
  };
}

/** A thread of its own watches, so that a main thread inside a long native call is no obstacle. */
function watchLifeline(): void {
  new Worker(new URL('./lifeline.js', import.meta.url), {
    workerData: RANK_DESCRIPTORS.lifeline,
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4, stackSizeMb: 1 },
  }).unref();
}

/** Blocks while the pipe is full: a slow reader slows the run down instead of filling the memory. */
function writeLine(line: string): void {
  const bytes = Buffer.from(line);
  let written = 0;
  try {
    while (written < bytes.length) written += writeSync(RANK_DESCRIPTORS.events, bytes, written);
  } catch {
    // The supervisor is gone, and with it the reader; the lifeline ends this process.
  }
}

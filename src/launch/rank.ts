import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatReport, TrainyardError } from '../base/errors.js';
import type { RankEnvironment } from './environment.js';
import type { ErrorEvent, EventSink } from './events.js';
import { onStopSignals, type StopSignal, stopExitCode } from './stop-signals.js';

/** What a rank process does, and to whom it tells it. */
export interface RankWork {
  readonly environment: RankEnvironment;
  readonly sink: EventSink;
  /** The training itself. Told to stop by `signal`, it finishes the step, saves and returns. */
  run(signal: AbortSignal): Promise<void>;
  /** Ends the process; the default runs exit handlers. */
  leave(exitCode: number): never;
}

/**
 * The frame around a rank's work: stop signals reach it as an AbortSignal, and whatever it throws, now or
 * in some forgotten promise, is told once, to the supervisor and to torchrun, before the process leaves.
 */
export async function runRank(work: RankWork): Promise<never> {
  const controller = new AbortController();
  let stop: StopSignal | undefined;
  onStopSignals({
    first: (signal) => {
      stop = signal;
      controller.abort();
    },
    again: (signal) => work.leave(stopExitCode(signal)),
  });
  const forgotten = new Promise<never>((_, reject) => {
    process.on('uncaughtException', reject);
    process.on('unhandledRejection', reject);
  });
  let exitCode: number;
  try {
    await Promise.race([work.run(controller.signal), forgotten]);
    exitCode = stop === undefined ? 0 : stopExitCode(stop);
  } catch (error) {
    exitCode = reportFailure(error, work);
  }
  await printed();
  return work.leave(exitCode);
}

/** Returns the exit code that the error asks for. */
function reportFailure(error: unknown, { environment, sink }: RankWork): number {
  const event = errorEvent(error, environment.rank);
  sink(event);
  if (environment.errorFile !== undefined) writeErrorFile(environment.errorFile, event);
  return event.exit_code;
}

const LONGEST_SILENCE_MS = 2000;

/** Waits until what was printed has left the process; not for a reader that has stopped reading. */
async function printed(): Promise<void> {
  const streams = [process.stdout, process.stderr];
  const waiting = () => streams.reduce((sum, stream) => sum + stream.writableLength, 0);
  const flushed = Promise.all(
    streams.map((stream) => new Promise<void>((resolve) => stream.write('', () => resolve()))),
  ).then(() => true);
  for (let before = Number.POSITIVE_INFINITY; waiting() < before; ) {
    before = waiting();
    if (await Promise.race([flushed, sleep(LONGEST_SILENCE_MS, false, { ref: false })])) return;
  }
}

/** Any thrown value as the event that a supervisor understands. */
export function errorEvent(error: unknown, rank: number): ErrorEvent {
  const stack = error instanceof Error && error.stack !== undefined ? { stack: error.stack } : {};
  const common = { event: 'error', rank, time: Date.now(), ...stack } as const;
  if (error instanceof TrainyardError) {
    return { ...common, code: error.code, report: error.report, exit_code: error.exitCode };
  }
  const what = error instanceof Error ? `${error.name}: ${error.message}` : `thrown: ${String(error)}`;
  return { ...common, code: 'INTERNAL', report: { what }, exit_code: 1 };
}

/** torchrun names the rank whose file has the earliest timestamp as the root cause. */
function writeErrorFile(path: string, event: ErrorEvent): void {
  const isKnown = event.code !== 'INTERNAL';
  const extraInfo = {
    timestamp: String(Math.floor(event.time / 1000)),
    py_callstack: isKnown ? formatReport(event.report) : (event.stack ?? ''),
  };
  const message = { message: `${event.code}: ${event.report.what}`, extraInfo };
  try {
    writeFileSync(path, JSON.stringify({ message }));
  } catch {
    // The error itself matters more than a file that cannot be written.
  }
}

import { printableLines } from '../../base/printable.js';
import type { ErrorEvent, LogEvent, ProgressEvent } from '../../launch/events.js';

/** Shows a run to its reader: a person at a terminal, a log file, or a program. */
export interface Display {
  event(event: ProgressEvent): void;
  log(event: LogEvent, rank: number): void;
  /** Lines that a rank printed by itself; resolves when there is room for more. */
  output(rank: number, lines: readonly string[]): Promise<void>;
  /** A sentence of the launcher. */
  notice(text: string): void;
  /** The ranks have been asked to save and leave. */
  stopping(): void;
  /** Ends the display of a run that goes on no longer. */
  close(): void;
  /** Why the run failed. */
  failure(error: ErrorEvent): void;
}

/** A log message as a line: rank 0 speaks for all. */
export function logLine({ level, message }: LogEvent, rank: number): string {
  return `${rank === 0 ? '' : `[rank ${rank}] `}${level === 'warning' ? 'warning: ' : ''}${printableLines(message)}`;
}

export function outputLines(rank: number, lines: readonly string[]): readonly string[] {
  return lines.map((line) => `[rank ${rank}] ${line}`);
}

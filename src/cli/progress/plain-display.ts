import type { Writable } from 'node:stream';
import { env } from '../../base/env.js';
import type { ErrorEvent, LogEvent, ProgressEvent } from '../../launch/events.js';
import { formatError } from '../print-error.js';
import { type Display, logLine, outputLines } from './display.js';
import { writeLines } from './line-writer.js';
import { checkpointLine, endLines, plainLine, restartLine, startLine } from './lines.js';
import { NO_PROGRESS, type Progress, withEvent } from './progress.js';

const QUIET_MS = 5000;

/** For a log: a line every few seconds; the first step and the last always have one. */
export class PlainDisplay implements Display {
  readonly #stream: Writable;
  readonly #now: () => number;
  readonly #startedAt: number;
  #progress: Progress = NO_PROGRESS;
  #printedStep: number | undefined;
  #printedAt = Number.NEGATIVE_INFINITY;

  constructor(stream: Writable, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#now = now;
    this.#startedAt = now();
  }

  event(event: ProgressEvent): void {
    this.#progress = withEvent(this.#progress, event);
    if (event.event === 'start') this.#print([startLine(event)]);
    if (event.event === 'checkpoint') this.#print([checkpointLine(event)]);
    if (event.event === 'restart') this.#print([restartLine(event)]);
    if (event.event === 'step' && this.#isDue(event.step)) this.#printStep(event.step);
  }

  log(event: LogEvent, rank: number): void {
    this.#print([logLine(event, rank)]);
  }

  async output(rank: number, lines: readonly string[]): Promise<void> {
    await writeLines(this.#stream, outputLines(rank, lines));
  }

  notice(text: string): void {
    this.#print([text]);
  }

  stopping(): void {
    this.#progress = { ...this.#progress, isStopping: true };
  }

  close(): void {
    const step = this.#progress.last?.step;
    if (step !== undefined && step !== this.#printedStep) this.#printStep(step);
    this.#print(endLines(this.#progress, (this.#now() - this.#startedAt) / 1000));
  }

  failure(error: ErrorEvent): void {
    this.#print([formatError(error, env.debug)]);
  }

  #isDue(step: number): boolean {
    const every = this.#progress.start?.steps_per_print;
    if (this.#printedStep === undefined) return true;
    return every === undefined ? this.#now() - this.#printedAt >= QUIET_MS : step % every === 0;
  }

  #printStep(step: number): void {
    this.#printedStep = step;
    this.#printedAt = this.#now();
    this.#print([plainLine(this.#progress)]);
  }

  /** What we say ourselves is little: nobody need wait for it. */
  #print(lines: readonly string[]): void {
    void writeLines(this.#stream, lines);
  }
}

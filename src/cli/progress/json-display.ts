import type { Writable } from 'node:stream';
import { env } from '../../base/env.js';
import { type ErrorEvent, encodeEvent, type LogEvent, type ProgressEvent } from '../../launch/events.js';
import { formatError } from '../print-error.js';
import { type Display, logLine, outputLines } from './display.js';
import { writeLines } from './line-writer.js';

/** For a program: one event a line on stdout and nothing else there; what people may want, on stderr. */
export class JsonDisplay implements Display {
  readonly #events: Writable;
  readonly #people: Writable;

  constructor(events: Writable, people: Writable) {
    this.#events = events;
    this.#people = people;
  }

  event(event: ProgressEvent): void {
    this.#events.write(`${encodeEvent(event)}\n`);
  }

  log(event: LogEvent, rank: number): void {
    this.#print([logLine(event, rank)]);
  }

  async output(rank: number, lines: readonly string[]): Promise<void> {
    await writeLines(this.#people, outputLines(rank, lines));
  }

  notice(text: string): void {
    this.#print([text]);
  }

  stopping(): void {
    // The end event says it.
  }

  close(): void {
    // Nothing is held back.
  }

  failure(error: ErrorEvent): void {
    const { stack: _, ...event } = error;
    this.#events.write(`${encodeEvent(event)}\n`);
    this.#print([formatError(error, env.debug)]);
  }

  #print(lines: readonly string[]): void {
    void writeLines(this.#people, lines);
  }
}

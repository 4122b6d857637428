import { env } from '../../base/env.js';
import type { ErrorEvent, LogEvent, ProgressEvent } from '../../launch/events.js';
import { formatError } from '../print-error.js';
import { type Display, logLine, outputLines } from './display.js';
import { shownLines } from './line-writer.js';
import { checkpointLine, endLines, liveLine, type Palette, restartLine, startLine } from './lines.js';
import { LiveScreen, type Terminal } from './live-screen.js';
import { NO_PROGRESS, type Progress, withEvent } from './progress.js';

/** The eye does not follow more. */
const SHORTEST_REDRAW_MS = 80;

/** For a terminal: one line that is drawn over, with the loss curve in it. */
export class LiveDisplay implements Display {
  readonly #screen: LiveScreen;
  readonly #palette: Palette;
  readonly #startedAt = performance.now();
  readonly #onResize = (): void => this.#draw();
  #progress: Progress = NO_PROGRESS;
  #drawnAt = Number.NEGATIVE_INFINITY;

  constructor(terminal: Terminal, palette: Palette) {
    this.#screen = new LiveScreen(terminal);
    this.#palette = palette;
    process.on('SIGWINCH', this.#onResize);
    this.#draw();
  }

  event(event: ProgressEvent): void {
    this.#progress = withEvent(this.#progress, event);
    if (event.event === 'start') this.#print([startLine(event)]);
    if (event.event === 'checkpoint') this.#print([checkpointLine(event)]);
    if (event.event === 'restart') this.#print([restartLine(event)]);
    if (event.event !== 'step' || performance.now() - this.#drawnAt >= SHORTEST_REDRAW_MS) this.#draw();
  }

  log(event: LogEvent, rank: number): void {
    this.#print([logLine(event, rank)]);
  }

  async output(rank: number, lines: readonly string[]): Promise<void> {
    this.#print(outputLines(rank, lines));
  }

  notice(text: string): void {
    this.#print([text]);
  }

  stopping(): void {
    this.#progress = { ...this.#progress, isStopping: true };
    this.#draw();
  }

  close(): void {
    this.#draw();
    process.off('SIGWINCH', this.#onResize);
    this.#screen.close();
    this.#print(endLines(this.#progress, (performance.now() - this.#startedAt) / 1000));
  }

  failure(error: ErrorEvent): void {
    this.#print([formatError(error, env.debug)]);
  }

  #print(lines: readonly string[]): void {
    this.#screen.print(shownLines(lines));
  }

  #draw(): void {
    this.#drawnAt = performance.now();
    this.#screen.draw(liveLine(this.#progress, this.#screen.width, this.#palette));
  }
}

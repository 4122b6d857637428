import { env } from '../../base/env.js';
import type { Display } from './display.js';
import { JsonDisplay } from './json-display.js';
import { COLORS, NO_COLORS } from './lines.js';
import { LiveDisplay } from './live-display.js';
import { PlainDisplay } from './plain-display.js';

/** The display that fits who is reading: a program, a person at a terminal, or a log. */
export function createDisplay(isForProgram: boolean): Display {
  // A reader that has gone away is no reason to fail in the middle of a write.
  process.stderr.on('error', () => undefined);
  if (isForProgram) return new JsonDisplay(process.stdout, process.stderr);
  if (process.stderr.isTTY && !env.ci && !env.hasDumbTerminal) {
    return new LiveDisplay(process.stderr, env.noColor ? NO_COLORS : COLORS);
  }
  return new PlainDisplay(process.stderr);
}

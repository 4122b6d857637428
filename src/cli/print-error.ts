import { env } from '../base/env.js';
import { isErrorCode } from '../base/error-codes.js';
import { type ErrorReport, formatReport } from '../base/errors.js';
import { withoutControls } from '../launch/output-lines.js';
import { errorEvent } from '../launch/rank.js';

/** An error of this process or of a rank. */
export interface PrintableError {
  /** A code of the error table, or `INTERNAL`. */
  readonly code: string;
  readonly report: ErrorReport;
  readonly stack?: string;
}

/** Prints any thrown value on stderr; returns the exit code that it asks for. */
export function printError(error: unknown): number {
  const event = errorEvent(error, 0);
  process.stderr.write(`${formatError(event, env.debug)}\n`);
  return event.exit_code;
}

/** What happened and a line for each thing that is known about it. A stack is for those who asked for it. */
export function formatError({ code, report, stack }: PrintableError, debug: boolean): string {
  const title = isErrorCode(code) ? `error ${code}` : 'error';
  const complete = isErrorCode(code) || debug ? report : { cure: UNKNOWN_CURE, ...report };
  const trace = debug && stack !== undefined ? `\n${stack}` : '';
  return `${title}: ${formatReport(complete)}${trace}`.split('\n').map(withoutControls).join('\n');
}

const UNKNOWN_CURE = 'TRAINYARD_DEBUG=1 shows where it happened';

import type { ErrorCode } from './error-codes.js';
import { exitCodeOf } from './error-codes.js';
import { printable, printableLines } from './printable.js';

/** What a person needs in order to act on an error. Every field but `what` is printed on its own line. */
export interface ErrorReport {
  /** One sentence: what went wrong. */
  readonly what: string;
  /** The place: a file with line and column, a configuration key path, a rank, a parameter name. */
  readonly where?: string;
  readonly expected?: string;
  readonly got?: string;
  /** What to do next. */
  readonly cure?: string;
}

/**
 * The one error class for everything a user can cause or meet. Bugs of our own throw through `invariant`.
 *
 * The message holds the whole report, so that it reads well wherever it is printed without its stack.
 */
export class TrainyardError extends Error {
  override readonly name = 'TrainyardError';

  constructor(
    readonly code: ErrorCode,
    readonly report: ErrorReport,
    options?: ErrorOptions,
  ) {
    super(formatReport(report), options);
  }

  /** The process exit code that this error asks for (design: 0 done, 2 configuration, 75 try again, 1 else). */
  get exitCode(): number {
    return exitCodeOf(this.code);
  }
}

/**
 * The report as it is printed, a line for each field. Names and data from outside are shown so that they cannot steer a
 * terminal, nor can a place forge a line.
 */
export function formatReport({ what, where, expected, got, cure }: ErrorReport): string {
  const lines = [printableLines(what)];
  if (where !== undefined) lines.push(`  at        ${printable(where)}`);
  if (expected !== undefined) lines.push(`  expected  ${printableLines(expected)}`);
  if (got !== undefined) lines.push(`  got       ${printableLines(got)}`);
  if (cure !== undefined) lines.push(`  cure      ${printableLines(cure)}`);
  return lines.join('\n');
}

/** Throws for a state that only a bug of ours can reach. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`Trainyard bug: ${message}`);
}

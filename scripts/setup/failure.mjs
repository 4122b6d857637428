/**
 * What a person needs to act on a failed set-up: the same fields, printed the same way, as `TrainyardError`
 * in src/base/errors.ts, which cannot be imported here because nothing is compiled yet.
 *
 * @typedef {object} Report
 * @property {string} what one sentence: what went wrong
 * @property {string} [where]
 * @property {string} [expected]
 * @property {string} [got]
 * @property {string} cure what to do next
 */

/** The set-up cannot go on, for a reason that the person can remove. */
export class SetupFailure extends Error {
  name = 'SetupFailure';

  /** @param {Report} report */
  constructor(report) {
    super(format(report));
  }
}

/** @param {Report} report */
function format({ what, where, expected, got, cure }) {
  const lines = [`SETUP_FAILED ${what}`];
  if (where) lines.push(`  at        ${where}`);
  if (expected) lines.push(`  expected  ${expected}`);
  if (got) lines.push(`  got       ${got}`);
  lines.push(`  cure      ${cure}`);
  return lines.join('\n');
}

/** Exit code of a wrong or incomplete environment: trying again without a change does not help. */
const EXIT_ENVIRONMENT = 2;

/**
 * Runs a script's main function. A `SetupFailure` becomes its message and exit code 2; anything else is a bug
 * and keeps its stack.
 *
 * @param {() => void | Promise<void>} main
 */
export async function runScript(main) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof SetupFailure)) throw error;
    console.error(error.message);
    process.exitCode = EXIT_ENVIRONMENT;
  }
}

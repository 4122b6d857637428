import { createContext, Script } from 'node:vm';

/** Runs a synchronous task and gives its result, or throws `DeadlineExceeded`. */
export type RunWithDeadline = <Result>(task: () => Result) => Result;

/** A task was stopped because it took too long. */
class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded';
}

/**
 * Makes a runner that stops synchronous code of others: a regular expression from a file that backtracks without
 * end, a template that loops. V8's watchdog interrupts both.
 */
export function createDeadline(milliseconds: number): RunWithDeadline {
  const context = createContext({ task: undefined });
  const script = new Script('task()');
  return <Result>(task: () => Result): Result => {
    context.task = task;
    try {
      return script.runInContext(context, { timeout: milliseconds }) as Result;
    } catch (error) {
      if (isTimeout(error)) {
        throw new DeadlineExceeded(`stopped after ${milliseconds} ms`, { cause: error });
      }
      throw error;
    } finally {
      context.task = undefined;
    }
  };
}

/** The watchdog's error belongs to the other context, where `Error` is another class. */
function isTimeout(error: unknown): boolean {
  return (
    typeof error === 'object' &&
    error !== null &&
    'code' in error &&
    error.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
  );
}

import { fileURLToPath } from 'node:url';
import { env } from '../../base/env.js';
import { type ObservedEvent, supervise } from '../../launch/supervisor.js';
import { threadBudget } from '../../launch/threads.js';
import type { Display } from '../progress/display.js';

/** A command of this program, to be run by several ranks. */
export interface SupervisedRanks {
  /** The command and its arguments; the environment of each process says which rank it is. */
  readonly command: readonly string[];
  readonly ranks: number;
  readonly display: Display;
  /** Whether ranks that are asked to stop save what they have. */
  readonly saves?: boolean;
  /** Told of every event but messages, which go to the display. */
  onEvent(event: Exclude<ObservedEvent, { event: 'log' }>): void;
}

/**
 * Runs a command in a process per rank, one rank included, so that no crash goes unexplained. What happens is
 * shown; returns the exit code.
 */
export async function superviseRanks({
  command,
  ranks,
  display,
  saves = false,
  onEvent,
}: SupervisedRanks): Promise<number> {
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  display.notice(threadBudget(ranks, env.variables).summary);
  const verdict = await supervise({
    command: { executable: process.execPath, arguments: [...process.execArgv, main, ...command] },
    ranks,
    variables: env.variables,
    observer: {
      event: (event, rank) => (event.event === 'log' ? display.log(event, rank) : onEvent(event)),
      output: (rank, lines) => display.output(rank, lines),
      stopping: (signal) => announceStop(display, signal, saves),
      failing: () => {
        if (ranks > 1) display.notice('a rank failed; stopping the others');
      },
      stalled: (rank, { step, instruction }, seconds) =>
        display.notice(`rank ${rank} has been at step ${step}, ${instruction} for ${seconds} s`),
    },
  });
  display.close();
  if (verdict.cause !== undefined) display.failure(verdict.cause);
  for (const consequence of verdict.consequences) display.notice(consequence);
  return verdict.exitCode;
}

function announceStop(display: Display, signal: string, saves: boolean): void {
  const doing = saves ? 'finishing the step and saving' : 'finishing the step; nothing is saved';
  display.stopping();
  display.notice(signal === 'SIGINT' ? `${doing}; press Ctrl-C again to leave now` : `${signal}: ${doing}`);
}

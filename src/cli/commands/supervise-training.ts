import { fileURLToPath } from 'node:url';
import { env } from '../../base/env.js';
import { loadConfig } from '../../engine/config.js';
import type { EndEvent, StepEvent } from '../../launch/events.js';
import { supervise } from '../../launch/supervisor.js';
import { threadBudget } from '../../launch/threads.js';
import { createDisplay } from '../progress/create-display.js';
import type { Display } from '../progress/display.js';

/** A run in processes of their own. */
export interface SupervisedTraining {
  readonly config: string;
  readonly ranks: number;
  /** As given to `--set`. */
  readonly overrides: readonly string[];
  /** Go on from the newest checkpoint. */
  readonly resume?: boolean;
  readonly display: Display;
  /** Sees every step as well. */
  onStep?(step: StepEvent): void;
}

/** How it went, as far as a command needs to know. */
export interface TrainingOutcome {
  readonly exitCode: number;
  /** What rank 0 said at the end, if it came to that. */
  readonly end?: EndEvent;
}

/**
 * Trains with one process per rank, one rank included, so that no crash goes unexplained. A wrong
 * configuration is answered before any of them starts.
 *
 * @throws TrainyardError for the configuration; whatever happens later is shown, and in the exit code.
 */
export async function superviseTraining(training: SupervisedTraining): Promise<TrainingOutcome> {
  const { ranks, display } = training;
  loadConfig(training.config, training.overrides, { worldSize: ranks, requires: ['model', 'data', 'steps'] });
  let end: EndEvent | undefined;
  display.notice(threadBudget(ranks, env.variables).summary);
  const verdict = await supervise({
    command: { executable: process.execPath, arguments: rankArguments(training) },
    ranks,
    variables: env.variables,
    observer: {
      event: (event, rank) => {
        if (event.event === 'log') return display.log(event, rank);
        if (event.event === 'step') training.onStep?.(event);
        if (event.event === 'end') end = event;
        display.event(event);
      },
      output: (rank, lines) => display.output(rank, lines),
      stopping: (signal) => announceStop(display, signal),
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
  return { exitCode: verdict.exitCode, ...(end !== undefined && { end }) };
}

/** The display of a command, ready for a reader that goes away: who stops reading wants no more training. */
export function displayForCommand(isForProgram: boolean): Display {
  if (isForProgram) process.stdout.once('error', () => process.kill(process.pid, 'SIGTERM'));
  process.stdout.on('error', () => undefined);
  return createDisplay(isForProgram);
}

function announceStop(display: Display, signal: string): void {
  display.stopping();
  display.notice(
    signal === 'SIGINT'
      ? 'finishing the step and saving; press Ctrl-C again to leave now'
      : `${signal}: finishing the step and saving`,
  );
}

/** The same program again; its environment says that it is a rank. */
function rankArguments({ config, overrides, resume }: SupervisedTraining): readonly string[] {
  const settings = overrides.flatMap((setting) => ['--set', setting]);
  if (resume === true) settings.push('--resume');
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  return [...process.execArgv, main, 'train', ...settings, '--', config];
}

import { fileURLToPath } from 'node:url';
import { env } from '../../base/env.js';
import { TrainyardError } from '../../base/errors.js';
import { rankEnvironment } from '../../launch/environment.js';
import { supervise } from '../../launch/supervisor.js';
import { threadBudget } from '../../launch/threads.js';
import type { TrainOptions } from '../program.js';
import { createDisplay } from '../progress/create-display.js';
import type { Display } from '../progress/display.js';

/**
 * Starts the ranks and watches over them; or, where a launcher has started this very process as one of
 * them, is that rank.
 */
export async function train(config: string, options: TrainOptions): Promise<void> {
  if (options.hostfile !== undefined) {
    throw new TrainyardError('CONFIG_UNSUPPORTED', {
      what: '--hostfile is not supported yet: all ranks run on this machine.',
      cure: 'use --ranks, or start the ranks of several machines with torchrun or your own launcher',
    });
  }
  const environment = rankEnvironment(env.variables, options.ranks);
  if (environment === undefined) {
    process.exitCode = await superviseTraining(config, options);
    return;
  }
  const { trainAsRank } = await import('./train-rank.js');
  await trainAsRank(config, options, environment);
}

/** Trains in processes of their own, one rank included, so that no crash goes unexplained. Returns the exit code. */
export async function superviseTraining(config: string, options: TrainOptions): Promise<number> {
  const ranks = options.ranks ?? 1;
  const display = createDisplay(options.json === true);
  stopWithoutReader(options.json === true);
  display.notice(threadBudget(ranks, env.variables).summary);
  const verdict = await supervise({
    command: { executable: process.execPath, arguments: rankArguments(config, options) },
    ranks,
    variables: env.variables,
    observer: {
      event: (event, rank) => (event.event === 'log' ? display.log(event, rank) : display.event(event)),
      output: (rank, lines) => display.output(rank, lines),
      stopping: (signal) => announceStop(display, signal),
      failing: (rank) => ranks > 1 && display.notice(`rank ${rank} failed; stopping the others`),
    },
  });
  display.close();
  if (verdict.cause !== undefined) display.failure(verdict.cause);
  for (const consequence of verdict.consequences) display.notice(consequence);
  return verdict.exitCode;
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
function rankArguments(config: string, options: TrainOptions): readonly string[] {
  const settings = (options.set ?? []).flatMap((setting) => ['--set', setting]);
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  return [...process.execArgv, main, 'train', ...settings, '--', config];
}

/** `train --json | head`: whoever stops reading wants no more training. */
function stopWithoutReader(isForProgram: boolean): void {
  if (!isForProgram) return;
  let isTold = false;
  process.stdout.on('error', () => {
    if (!isTold) process.kill(process.pid, 'SIGTERM');
    isTold = true;
  });
}

import { env } from '../../base/env.js';
import { TrainyardError } from '../../base/errors.js';
import { rankEnvironment } from '../../launch/environment.js';
import type { TrainOptions } from '../program.js';
import { displayForCommand, superviseTraining } from './supervise-training.js';

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
  if (environment !== undefined) {
    const { trainAsRank } = await import('./train-rank.js');
    await trainAsRank(config, options, environment);
  }
  const { exitCode } = await superviseTraining({
    config,
    ranks: options.ranks ?? 1,
    overrides: options.set ?? [],
    resume: options.resume === true,
    timeline: options.timeline,
    display: displayForCommand(options.json === true),
  });
  process.exitCode = exitCode;
}

import { env } from '../../base/env.js';
import type { RankEnvironment } from '../../launch/environment.js';
import type { EventSink } from '../../launch/events.js';
import { openRankChannel } from '../../launch/rank-channel.js';
import { createDisplay } from '../progress/create-display.js';
import { PlainDisplay } from '../progress/plain-display.js';
import { runAsRank } from './run-as-rank.js';
import type { TrainOptions } from './train-options.js';

/** Trains as one rank of a world that somebody else put together: our supervisor, torchrun, a person. */
export async function trainAsRank(
  config: string,
  options: TrainOptions,
  environment: RankEnvironment,
): Promise<never> {
  const sink = openRankChannel(env.variables) ?? ownSink(options, environment);
  return runAsRank(environment, sink, async (signal) => {
    const { runTraining } = await import('../../engine/train.js');
    await runTraining({
      configPath: config,
      overrides: options.set ?? [],
      environment,
      sink,
      signal,
      resume: options.resume === true,
      timeline: options.timeline,
    });
  });
}

/** Without a supervisor of ours, rank 0 shows the run, and every rank its own failure. */
function ownSink(options: TrainOptions, { rank, worldSize }: RankEnvironment): EventSink {
  const display = rank === 0 ? createDisplay(options.json === true) : new PlainDisplay(process.stderr);
  if (rank === 0) display.notice(`rank 0 of ${worldSize}, as RANK and WORLD_SIZE say`);
  return (event) => {
    switch (event.event) {
      case 'start':
      case 'step':
      case 'checkpoint':
        if (rank === 0) display.event(event);
        break;
      case 'end':
        if (rank === 0) display.event(event);
        display.close();
        break;
      case 'log':
        display.log(event, rank);
        break;
      case 'error':
        display.close();
        display.failure(event);
        break;
      case 'answer':
      case 'section':
      case 'restart':
        break;
      default:
        event satisfies never;
    }
  };
}

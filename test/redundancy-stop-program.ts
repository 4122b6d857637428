import { join } from 'node:path';
import { runTraining } from '../src/engine/train.js';
import type { EndEvent } from '../src/launch/events.js';
import { environmentOf, type RankPlace } from './rank-world.js';

const EMPTY = join(import.meta.dirname, '../../test/fixtures/empty-config.json');

/** How one rank's run ended. */
export interface StoppedRank {
  readonly lastStep: number;
  /** Of rank 0 alone. */
  readonly end?: EndEvent;
}

/**
 * One rank of a run that is asked to stop: its arguments are the step of each rank during which that happens to it, as
 * JSON, with null for never, and then those of `--set`.
 */
export async function run(
  place: RankPlace,
  [stops = '[]', ...overrides]: readonly string[],
): Promise<StoppedRank> {
  const stop = (JSON.parse(stops) as (number | null)[])[place.rank] ?? Number.POSITIVE_INFINITY;
  const controller = new AbortController();
  let lastStep = 0;
  let end: EndEvent | undefined;
  await runTraining({
    configPath: EMPTY,
    overrides,
    environment: environmentOf(place),
    sink: (event) => {
      if (event.event === 'end') end = event;
      if (event.event !== 'section') return;
      lastStep = Math.max(lastStep, event.step);
      if (event.step >= stop) controller.abort();
    },
    signal: controller.signal,
  });
  return { lastStep, ...(end && { end }) };
}

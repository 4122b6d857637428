import { join } from 'node:path';
import { runTraining } from '../src/engine/train.js';
import type { RankEvent } from '../src/launch/events.js';
import { environmentOf, type RankPlace } from './rank-world.js';

const EMPTY = join(import.meta.dirname, '../../test/fixtures/empty-config.json');

/** One rank of a run as `train` does it, without a supervisor; its arguments are those of `--set`. Tells the events. */
export async function run(place: RankPlace, overrides: readonly string[]): Promise<readonly RankEvent[]> {
  const events: RankEvent[] = [];
  await runTraining({
    configPath: EMPTY,
    overrides,
    environment: environmentOf(place),
    sink: (event) => void (event.event !== 'section' && events.push(event)),
    signal: new AbortController().signal,
  });
  return events;
}

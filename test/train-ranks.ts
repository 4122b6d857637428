import type { EndEvent, RankEvent, StepEvent } from '../src/launch/events.js';
import { runRanks } from './run-ranks.js';

/** What rank 0 said of a run. */
export interface Training {
  readonly steps: readonly StepEvent[];
  readonly end: EndEvent;
}

/** Trains as `train --ranks` does, in processes that other worlds have used before. */
export async function trainRanks(
  ranks: number,
  settings: Readonly<Record<string, unknown>>,
): Promise<Training> {
  const overrides = Object.entries(settings).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const [events = []] = await runRanks<readonly RankEvent[]>('train-program.js', ranks, overrides);
  const end = events.find((event) => event.event === 'end');
  if (end === undefined) throw new Error(`the run has no end: ${JSON.stringify(events)}`);
  return { steps: events.filter((event) => event.event === 'step'), end };
}

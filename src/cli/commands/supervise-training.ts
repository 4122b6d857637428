import { loadConfig } from '../../engine/config.js';
import { demandOutput } from '../../engine/demand-output.js';
import type { EndEvent, StepEvent } from '../../launch/events.js';
import { createDisplay } from '../progress/create-display.js';
import type { Display } from '../progress/display.js';
import { type OtherHosts, superviseRanks } from './supervise-ranks.js';

/** A run in processes of their own. */
export interface SupervisedTraining {
  readonly config: string;
  readonly ranks: number;
  readonly otherHosts?: OtherHosts | undefined;
  /** As given to `--set`. */
  readonly overrides: readonly string[];
  /** Go on from the newest checkpoint. */
  readonly resume?: boolean;
  /** The file that a timeline of the last step goes to. */
  readonly timeline?: string | undefined;
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
 * Trains with one process per rank. A wrong configuration, or an output that cannot be written, is answered before any of them starts.
 *
 * @throws TrainyardError for the configuration; whatever happens later is shown, and in the exit code.
 */
export async function superviseTraining(training: SupervisedTraining): Promise<TrainingOutcome> {
  const { config, ranks, otherHosts, overrides, timeline, display } = training;
  const loaded = loadConfig(config, overrides, { worldSize: ranks, requires: ['model', 'data', 'steps'] });
  if (hasFirstRank(otherHosts)) demandOutput(loaded, timeline);
  let end: EndEvent | undefined;
  const exitCode = await superviseRanks({
    command: [
      ...['train', ...settings(overrides), ...(training.resume ? ['--resume'] : [])],
      ...(timeline === undefined ? [] : ['--timeline', timeline]),
      ...['--', config],
    ],
    ranks,
    otherHosts,
    display,
    saves: loaded.config.output !== undefined,
    onEvent: (event) => {
      if (event.event === 'answer') return;
      if (event.event === 'step') training.onStep?.(event);
      if (event.event === 'end') end = event;
      display.event(event);
    },
  });
  return { exitCode, ...(end !== undefined && { end }) };
}

/** Rank 0 writes the output, on its own host. */
function hasFirstRank(otherHosts: OtherHosts | undefined): boolean {
  return otherHosts === undefined || (otherHosts.kind === 'own-part' && otherHosts.place.firstRank === 0);
}

/** Overrides as flags again. */
export function settings(overrides: readonly string[]): readonly string[] {
  return overrides.flatMap((setting) => ['--set', setting]);
}

/** The display of a command, ready for a reader that goes away: who stops reading wants no more training. */
export function displayForCommand(isForProgram: boolean): Display {
  if (isForProgram) process.stdout.once('error', () => process.kill(process.pid, 'SIGTERM'));
  process.stdout.on('error', () => undefined);
  return createDisplay(isForProgram);
}

import { setTimeout as sleep } from 'node:timers/promises';
import { TrainyardError } from '../../base/errors.js';
import { demandOutput } from '../../engine/demand-output.js';
import type { EndEvent, StepEvent } from '../../launch/events.js';
import { createReplicaFolder, REPLICA_VARIABLE, type ReplicaFolder } from '../../launch/replica-folder.js';
import { decideRestart, type Loss, type RestartDecision } from '../../launch/restart-policy.js';
import type { Verdict } from '../../launch/verdict.js';
import { formatRanks } from '../format.js';
import { createDisplay } from '../progress/create-display.js';
import type { Display } from '../progress/display.js';
import { attemptRanks, type OtherHosts, showVerdict } from './supervise-ranks.js';
import { type TrainingSizes, trainingSizes } from './training-sizes.js';

/** A run in processes of their own. */
export interface SupervisedTraining {
  readonly config: string;
  readonly ranks: number;
  readonly otherHosts?: OtherHosts | undefined;
  /** How few ranks it may go on with after losses; left out: no fewer. */
  readonly leastRanks?: number;
  /** How often in an hour ranks start again after one was lost; left out: never. */
  readonly maxRestarts?: number;
  /** How long a rank may stay at one instruction; left out: for ever. */
  readonly hangMs?: number | undefined;
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
 * Trains with one process per rank, and starts them again from the newest checkpoint when one was lost. A wrong
 * configuration, or an output that cannot be written, is answered before any of them starts.
 *
 * @throws TrainyardError for the configuration; whatever happens later is shown, and in the exit code.
 */
export async function superviseTraining(training: SupervisedTraining): Promise<TrainingOutcome> {
  const sizes = trainingSizes(training);
  if (hasFirstRank(training.otherHosts)) demandOutput(sizes.loaded, training.timeline);
  const replicas = replicaFolder(training, sizes);
  try {
    return await tryAgain(training, { ...sizes, replicas });
  } finally {
    replicas?.remove();
  }
}

/** @throws TrainyardError CONFIG_UNSUPPORTED for ranks of several hosts */
function replicaFolder(
  { otherHosts }: SupervisedTraining,
  { loaded: { config, origin } }: TrainingSizes,
): ReplicaFolder | undefined {
  if (!config.checkpoint.replicate) return undefined;
  if (otherHosts === undefined) return createReplicaFolder();
  throw new TrainyardError('CONFIG_UNSUPPORTED', {
    what: 'Copies of the state are kept in the memory of one host, and these ranks are on several.',
    where: `checkpoint.replicate (${origin.describe(['checkpoint', 'replicate'], 'value')})`,
    cure: 'Remove it, and set checkpoint.interval.',
  });
}

/** Where a lost run may go on. */
interface RunPlace extends TrainingSizes {
  /** A folder for copies of the state; absent where none are kept. */
  readonly replicas: ReplicaFolder | undefined;
}

async function tryAgain(training: SupervisedTraining, sizes: RunPlace): Promise<TrainingOutcome> {
  const { display } = training;
  const { output, checkpoint } = sizes.loaded.config;
  // Where nothing is saved there is nothing to go on from.
  const isSaved = output !== undefined || checkpoint.replicate;
  const restarts = isSaved ? (training.maxRestarts ?? 0) : 0;
  const limits = { restarts, sizes: sizes.ranks };
  const losses: Loss[] = [];
  let attempt = await attemptTraining(training, sizes, { ranks: training.ranks, saved: undefined });
  for (;;) {
    const { verdict, ranks, saved } = attempt;
    losses.push(...lossesOf(verdict, ranks));
    const decision = verdict.lost === undefined ? NOTHING_LOST : decideRestart(losses, limits);
    if (decision.kind === 'stop') {
      const exitCode = showVerdict(display, verdict);
      if (decision.reason !== undefined) display.notice(`not started again: ${decision.reason}`);
      return { exitCode, ...(attempt.end !== undefined && { end: attempt.end }) };
    }
    display.event({
      event: 'restart',
      attempt: decision.attempt,
      world_size: decision.ranks,
      step: Math.max(saved ?? 0, sizes.replicas?.newestStep() ?? 0),
      lost_rank: verdict.lost?.rank ?? 0,
      lost_step: verdict.lost?.step ?? 0,
      reason: verdict.cause?.report.what ?? 'a rank was lost',
    });
    await sleep(decision.delayMs);
    attempt = await attemptTraining(training, sizes, { ranks: decision.ranks, saved });
  }
}

const NOTHING_LOST: RestartDecision = { kind: 'stop' };

function lossesOf({ lost, exitCode }: Verdict, ranks: number): readonly Loss[] {
  return lost === undefined
    ? []
    : [{ ...lost, ranks, mayBeTriedAgain: exitCode === TRY_AGAIN, time: Date.now() }];
}

const TRY_AGAIN = 75;

interface AttemptPlace {
  readonly ranks: number;
  /** The step of the newest checkpoint of this run; undefined: it has none yet. */
  readonly saved: number | undefined;
}

interface Attempt extends AttemptPlace {
  readonly verdict: Verdict;
  readonly end?: EndEvent | undefined;
}

/** All ranks from their start to their end. Of older runs in the same folder only `--resume` takes checkpoints. */
async function attemptTraining(
  { config, otherHosts, overrides, resume = false, timeline, display, hangMs, onStep }: SupervisedTraining,
  sizes: RunPlace,
  { ranks, saved: savedBefore }: AttemptPlace,
): Promise<Attempt> {
  const batch = sizes.batchOn(ranks);
  if (batch.length > 0) display.notice(`the same global batch on ${formatRanks(ranks)}: ${batch.join(', ')}`);
  let [saved, end]: [number | undefined, EndEvent | undefined] = [savedBefore, undefined];
  const verdict = await attemptRanks({
    command: [
      ...['train', ...settings([...overrides, ...batch])],
      ...(resume || savedBefore !== undefined ? ['--resume'] : []),
      ...(timeline === undefined ? [] : ['--timeline', timeline]),
      ...['--', config],
    ],
    ranks,
    otherHosts,
    display,
    hangMs,
    ...(sizes.replicas !== undefined && { variables: { [REPLICA_VARIABLE]: sizes.replicas.path } }),
    saves: sizes.loaded.config.output !== undefined,
    onEvent: (event) => {
      if (event.event === 'answer') return;
      if (event.event === 'step') onStep?.(event);
      if (event.event === 'checkpoint') saved = event.step;
      if (event.event === 'end') end = event;
      display.event(event);
    },
  });
  return { verdict, ranks, saved, end };
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

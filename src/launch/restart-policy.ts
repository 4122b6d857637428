/** How an attempt to run ended that did not go well. */
export interface Loss {
  /** How many ranks there were. */
  readonly ranks: number;
  /** The one that failed first. */
  readonly rank: number;
  /** The step that it was in, counted from 1; 0: it had not come to the first. */
  readonly step: number;
  /** Whether another attempt may end otherwise. */
  readonly mayBeTriedAgain: boolean;
  /** Milliseconds since the epoch. */
  readonly time: number;
}

/** How far a supervisor goes on after losses. */
export interface RestartLimits {
  /** In an hour; the next loss ends the run. */
  readonly restarts: number;
  /** Numbers of ranks that the run could go on with, the most first. */
  readonly sizes: readonly number[];
}

export type RestartDecision =
  | {
      readonly kind: 'restart';
      readonly ranks: number;
      readonly delayMs: number;
      /** Which of the restarts in the last hour it is. */
      readonly attempt: number;
    }
  | {
      readonly kind: 'stop';
      /** A sentence; absent where nothing can be said beside the failure itself. */
      readonly reason?: string;
    };

const HOUR_MS = 3_600_000;
const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;

/**
 * What to do about the last of some losses, the oldest first: the whole policy of restarts, without a clock or a process
 * in it.
 *
 * A rank that is lost twice in the same step is lost for what it does there, and would be for ever. One that does not come
 * as far as its first step again is not coming back: then the run goes on with fewer, where it may.
 */
export function decideRestart(losses: readonly Loss[], limits: RestartLimits): RestartDecision {
  const last = losses.at(-1);
  if (last === undefined || !last.mayBeTriedAgain) return { kind: 'stop' };
  const recent = losses.filter(({ time }) => last.time - time < HOUR_MS);
  const attempt = recent.length;
  if (limits.restarts === 0) return { kind: 'stop' };
  if (attempt > limits.restarts) {
    return {
      kind: 'stop',
      reason: `${counted(attempt)} in an hour: --max-restarts allows ${limits.restarts}`,
    };
  }
  const before = losses.at(-2);
  const isAgain = before !== undefined && before.ranks === last.ranks;
  if (isAgain && last.step > 0 && before.rank === last.rank && before.step === last.step) {
    return {
      kind: 'stop',
      reason: `rank ${last.rank} was lost twice in step ${last.step}: it would be again`,
    };
  }
  const delayMs = attempt === 1 ? 0 : Math.min(FIRST_DELAY_MS * 2 ** (attempt - 2), LONGEST_DELAY_MS);
  // The first attempt of all says nothing of who comes back.
  if (before === undefined || last.step > 0) return { kind: 'restart', ranks: last.ranks, delayMs, attempt };
  const fewer = limits.sizes.find((size) => size < last.ranks);
  if (fewer !== undefined) return { kind: 'restart', ranks: fewer, delayMs, attempt };
  return {
    kind: 'stop',
    reason: `rank ${last.rank} did not come back, and the run cannot do with fewer ranks`,
  };
}

function counted(losses: number): string {
  return losses === 1 ? 'a rank was lost once' : `ranks were lost ${losses} times`;
}

import type { ErrorEvent } from './events.js';
import { STOP_SIGNALS, type StopSignal, stopExitCode } from './stop-signals.js';

/** How a rank's process ended, as the system reports it. */
export interface RankExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Milliseconds since the epoch. */
  readonly time: number;
}

/** All that is known of one rank's end. */
export interface RankFate {
  readonly exit?: RankExit;
  /** The error it reported before it ended. */
  readonly error?: ErrorEvent;
  /** Whether we sent it a stop signal. */
  readonly asked: boolean;
  /** Whether we ended it by force. */
  readonly killed: boolean;
}

/**
 * - `running`: nobody wants to leave;
 * - `stopping`: asked to save and leave, waiting for it;
 * - `failing`: a rank failed, the others get a moment before they are killed;
 * - `leaving`: everything was killed because somebody asked twice.
 */
export type RunPhase = 'running' | 'stopping' | 'failing' | 'leaving';

export interface RunState {
  readonly phase: RunPhase;
  readonly ranks: readonly RankFate[];
  /** The signal that asked for the stop. */
  readonly stopSignal?: StopSignal;
}

export type RunInput =
  | { readonly kind: 'error'; readonly rank: number; readonly event: ErrorEvent }
  | { readonly kind: 'exit'; readonly rank: number; readonly exit: RankExit }
  | { readonly kind: 'hung'; readonly rank: number; readonly event: ErrorEvent }
  | { readonly kind: 'stop'; readonly signal: StopSignal }
  | { readonly kind: 'leave'; readonly signal: StopSignal }
  | { readonly kind: 'grace-over' };

export type RunAction =
  | { readonly kind: 'signal'; readonly ranks: readonly number[]; readonly signal: StopSignal }
  | { readonly kind: 'kill'; readonly ranks: readonly number[] }
  | { readonly kind: 'start-grace' };

export interface RunTransition {
  readonly state: RunState;
  readonly actions: readonly RunAction[];
}

export function initialRunState(ranks: number): RunState {
  return { phase: 'running', ranks: Array.from({ length: ranks }, () => ({ asked: false, killed: false })) };
}

/** What a supervisor does about an event: the whole policy, without a clock, a process or a signal in it. */
export function advance(state: RunState, input: RunInput): RunTransition {
  switch (input.kind) {
    case 'error':
      return fail(withFate(state, input.rank, { error: input.event }), input.rank);
    case 'exit': {
      const next = withFate(state, input.rank, { exit: input.exit });
      if (hasFailed(next, input.rank)) return fail(next, input.rank);
      return { state: next, actions: leftUnprepared(next, input) ? [{ kind: 'start-grace' }] : [] };
    }
    case 'hung':
      return endHung(state, input.rank, input.event);
    case 'stop':
      if (state.phase !== 'running') return { state, actions: [] };
      return ask({ ...state, phase: 'stopping', stopSignal: input.signal }, living(state), input.signal);
    case 'leave':
      return killAll({ ...state, phase: 'leaving', stopSignal: input.signal });
    case 'grace-over':
      return killAll(state);
    default:
      return input satisfies never;
  }
}

/** Whether every rank's process is gone. */
export function isOver(state: RunState): boolean {
  return living(state).length === 0;
}

/** Whether this rank's end, as far as it is known, is a failure of its own and nothing that we asked for. */
export function hasFailed(state: RunState, rank: number): boolean {
  const fate = state.ranks[rank];
  if (fate === undefined) return false;
  if (fate.error !== undefined) return true;
  if (fate.exit === undefined || fate.killed) return false;
  return fate.exit.code !== 0 && !isStopped(fate);
}

/** A rank that saved and left says so by its exit code; one that had no handler yet dies of our signal. */
export function isStopped({ exit, asked }: RankFate): boolean {
  if (exit === undefined) return false;
  if (exit.signal !== null) return asked && STOP_SIGNALS.some((name) => name === exit.signal);
  return STOP_SIGNALS.some((name) => exit.code === stopExitCode(name));
}

/** Stopped while it was still loading: the others wait in vain for this rank to save with them. */
function leftUnprepared(state: RunState, { exit }: { readonly exit: RankExit }): boolean {
  return state.phase === 'stopping' && exit.signal !== null;
}

/** The first failure gives the others their notice; later ones are only noted. */
function fail(state: RunState, failed: number): RunTransition {
  if (state.phase === 'failing' || state.phase === 'leaving') return { state, actions: [] };
  const others = living(state).filter((rank) => rank !== failed);
  const { state: asked, actions } = ask({ ...state, phase: 'failing' }, others, 'SIGTERM');
  return { state: asked, actions: [...actions, { kind: 'start-grace' }] };
}

/** Whoever hangs does not hear that it should leave, so that it is killed at once. */
function endHung(state: RunState, rank: number, event: ErrorEvent): RunTransition {
  if (state.phase === 'failing' || state.phase === 'leaving') return { state, actions: [] };
  const failed = fail(withFate(state, rank, { error: event, killed: true }), rank);
  return { ...failed, actions: [...failed.actions, { kind: 'kill', ranks: [rank] }] };
}

function ask(state: RunState, ranks: readonly number[], signal: StopSignal): RunTransition {
  const fates = state.ranks.map((fate, rank) => (ranks.includes(rank) ? { ...fate, asked: true } : fate));
  return { state: { ...state, ranks: fates }, actions: [{ kind: 'signal', ranks, signal }] };
}

function killAll(state: RunState): RunTransition {
  const ranks = living(state);
  const fates = state.ranks.map((fate) => (fate.exit === undefined ? { ...fate, killed: true } : fate));
  return { state: { ...state, ranks: fates }, actions: [{ kind: 'kill', ranks }] };
}

function living(state: RunState): readonly number[] {
  return state.ranks.flatMap((fate, rank) => (fate.exit === undefined ? [rank] : []));
}

function withFate(state: RunState, rank: number, news: Partial<RankFate>): RunState {
  return {
    ...state,
    ranks: state.ranks.map((fate, index) => (index === rank ? { ...fate, ...news } : fate)),
  };
}

import { randomBytes } from 'node:crypto';
import { invariant } from '../base/errors.js';
import type { AnswerEvent, LogEvent, PublicEvent, RankEvent } from './events.js';
import type { Section } from './flight-record.js';
import { freePort } from './free-port.js';
import { findHung, hungEvent, type StandingRank } from './hung-rank.js';
import { outOfMemoryKills } from './out-of-memory.js';
import { type RankCommand, type RankListener, RankProcess } from './rank-process.js';
import { type HostPlace, rankVariables } from './rank-variables.js';
import {
  advance,
  initialRunState,
  isOver,
  type RunAction,
  type RunInput,
  type RunState,
} from './run-state.js';
import { onStopSignals, type StopSignal } from './stop-signals.js';
import { threadBudget } from './threads.js';
import type { Variables } from './variables.js';
import { judge, type RankName, type Verdict } from './verdict.js';

/** What an observer is told; failures reach it with the verdict. */
export type ObservedEvent = Exclude<PublicEvent, { event: 'error' | 'restart' }> | AnswerEvent | LogEvent;

/** Hears what happens, to show it to a person or a program. */
export interface RunObserver {
  /** Rank 0's events, and any rank's log messages. */
  event(event: ObservedEvent, rank: number): void;
  /** Lines that a rank, or a library in it, printed; resolves when there is room for more. */
  output(rank: number, lines: readonly string[]): Promise<void>;
  /** The first stop signal: the ranks finish their step, and save if they have an output. */
  stopping(signal: StopSignal): void;
  /** A rank failed; the others are being stopped. */
  failing(): void;
  /** A rank has been at the same instruction for long; said once for each such stay. */
  stalled(rank: number, section: Section, seconds: number): void;
}

export interface WatchOptions {
  readonly observer: RunObserver;
  /** How long the other ranks may take to leave after one failed. */
  readonly graceMs?: number;
  /** How long a rank may stay at one instruction before it is taken to hang, and the run fails; left out: for ever. */
  readonly hangMs?: number | undefined;
}

export interface SupervisorOptions extends WatchOptions {
  readonly command: RankCommand;
  readonly ranks: number;
  /** The environment that the ranks inherit, before what is theirs alone. */
  readonly variables: Variables;
  /** Where these ranks stand among those of other hosts, which have supervisors of their own; left out: there are none. */
  readonly place?: HostPlace | undefined;
}

/** A rank's process, on this host or another one. */
export interface SupervisedRank {
  /** Resolves when the process is gone and all that it said has been heard. */
  readonly closed: Promise<void>;
  /** What the rank is doing, or was when it died. */
  readonly section: Section | undefined;
  signal(signal: StopSignal): void;
  /** Ends the process and all that it started. */
  kill(): void;
  /** Gives up what is held for it; after this, `section` must not be asked for. */
  dispose(): void;
}

/** A rank that is yet to be started. */
export interface RankStart {
  readonly name: RankName;
  start(listener: RankListener): SupervisedRank;
}

const GRACE_MS = 2000;
const STALL_CHECK_MS = 5000;
const STALL_MS = 30_000;
const LOOPBACK = '127.0.0.1';

/**
 * Runs one process per rank on this host until all have ended, and says how it went. Whatever happens to
 * one of them, or to the supervisor itself, none is left behind.
 */
export async function supervise(options: SupervisorOptions): Promise<Verdict> {
  const budget = threadBudget(options.ranks, options.variables);
  const place = options.place ?? (await ownPlace(options.ranks));
  const starts = rankVariables(options.ranks, options.variables, budget, place).map((own, localRank) => ({
    name: { rank: place.firstRank + localRank },
    start: (listener: RankListener) => new RankProcess(options.command, own, listener),
  }));
  return watchRanks(starts, place.worldSize, options);
}

/** Starts ranks, wherever they are, and watches over them in the same way. */
export function watchRanks(
  starts: readonly RankStart[],
  worldSize: number,
  options: WatchOptions,
): Promise<Verdict> {
  return new Supervisor(starts, worldSize, options).run();
}

/** Of a run with no other hosts. */
async function ownPlace(ranks: number): Promise<HostPlace> {
  return {
    host: 0,
    firstRank: 0,
    worldSize: ranks,
    masterAddress: LOOPBACK,
    masterPort: await freePort(LOOPBACK),
    runId: randomBytes(16).toString('hex'),
    networkInterface: 'lo',
  };
}

class Supervisor {
  readonly #options: WatchOptions;
  readonly #names: readonly RankName[];
  readonly #worldSize: number;
  readonly #processes: readonly SupervisedRank[];
  readonly #memoryKillsBefore = outOfMemoryKills();
  #state: RunState;
  readonly #stallsTold = new Set<string>();
  #grace: NodeJS.Timeout | undefined;

  constructor(starts: readonly RankStart[], worldSize: number, options: WatchOptions) {
    this.#options = options;
    this.#names = starts.map(({ name }) => name);
    this.#worldSize = worldSize;
    this.#state = initialRunState(starts.length);
    this.#processes = starts.map(({ name, start }, index) =>
      start({
        event: (event) => this.#hear(index, name.rank, event),
        output: (lines) => options.observer.output(name.rank, lines),
        exit: (exit) => this.#take({ kind: 'exit', rank: index, exit }),
      }),
    );
  }

  async run(): Promise<Verdict> {
    const giveSignalsBack = onStopSignals({
      first: (signal) => this.#take({ kind: 'stop', signal }),
      again: (signal) => this.#take({ kind: 'leave', signal }),
    });
    const watch = setInterval(
      () => this.#watch(Date.now()),
      Math.min(STALL_CHECK_MS, this.#options.hangMs ?? STALL_CHECK_MS),
    );
    await Promise.all(this.#processes.map((process) => process.closed));
    clearInterval(watch);
    giveSignalsBack();
    clearTimeout(this.#grace);
    invariant(isOver(this.#state), 'all processes are gone, but not all exits were noted');
    const verdict = judge(this.#state, {
      sections: this.#processes.map((process) => process.section),
      world: { names: this.#names, size: this.#worldSize },
      isOutOfMemory: outOfMemoryKills() > this.#memoryKillsBefore,
      now: Date.now(),
    });
    for (const process of this.#processes) process.dispose();
    return verdict;
  }

  /** Whether ranks move on is seen from outside: a thread that is stuck tells nobody. */
  #watch(now: number): void {
    const standing = this.#standing();
    for (const { rank, section } of standing) {
      const key = `${rank} ${section.since}`;
      if (now - section.since < STALL_MS || this.#stallsTold.has(key)) continue;
      this.#stallsTold.add(key);
      this.#options.observer.stalled(rank, section, Math.round((now - section.since) / 1000));
    }
    const { hangMs = Number.POSITIVE_INFINITY } = this.#options;
    const hung = findHung(standing, hangMs, now);
    if (hung !== undefined) this.#take({ kind: 'hung', rank: hung.index, event: hungEvent(hung, now) });
  }

  /** The living ranks that have begun, with the instruction at which each is. */
  #standing(): StandingRank[] {
    return this.#processes.flatMap(({ section }, index) =>
      section === undefined || this.#state.ranks[index]?.exit !== undefined
        ? []
        : [{ index, rank: this.#names[index]?.rank ?? index, section }],
    );
  }

  #hear(index: number, rank: number, event: RankEvent): void {
    switch (event.event) {
      case 'error':
        this.#take({ kind: 'error', rank: index, event });
        break;
      case 'start':
      case 'step':
      case 'checkpoint':
      case 'end':
      case 'answer':
        if (rank === 0) this.#options.observer.event(event, rank);
        break;
      case 'log':
        this.#options.observer.event(event, rank);
        break;
      case 'section':
      case 'restart':
        break;
      default:
        event satisfies never;
    }
  }

  #take(input: RunInput): void {
    const { state, actions } = advance(this.#state, input);
    const before = this.#state.phase;
    this.#state = state;
    for (const action of actions) this.#act(action);
    if (before === state.phase) return;
    if (state.phase === 'stopping' && input.kind === 'stop') this.#options.observer.stopping(input.signal);
    if (state.phase === 'failing') this.#options.observer.failing();
  }

  #act(action: RunAction): void {
    switch (action.kind) {
      case 'signal':
        for (const rank of action.ranks) this.#processes[rank]?.signal(action.signal);
        break;
      case 'kill':
        for (const rank of action.ranks) this.#processes[rank]?.kill();
        break;
      case 'start-grace':
        this.#grace = setTimeout(() => this.#take({ kind: 'grace-over' }), this.#options.graceMs ?? GRACE_MS);
        break;
      default:
        action satisfies never;
    }
  }
}

import { randomBytes } from 'node:crypto';
import { invariant } from '../base/errors.js';
import { RUN_ID_VARIABLE, type Variables } from './environment.js';
import type { AnswerEvent, LogEvent, PublicEvent, RankEvent } from './events.js';
import type { Section } from './flight-record.js';
import { freePort } from './free-port.js';
import { outOfMemoryKills } from './out-of-memory.js';
import { SUPERVISED_VARIABLE } from './rank-channel.js';
import { type RankCommand, RankProcess } from './rank-process.js';
import {
  advance,
  initialRunState,
  isOver,
  type RunAction,
  type RunInput,
  type RunState,
} from './run-state.js';
import { onStopSignals, type StopSignal } from './stop-signals.js';
import { type ThreadBudget, threadBudget } from './threads.js';
import { judge, type Verdict } from './verdict.js';

/** What an observer is told; failures reach it with the verdict. */
export type ObservedEvent = Exclude<PublicEvent, { event: 'error' }> | AnswerEvent | LogEvent;

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

export interface SupervisorOptions {
  readonly command: RankCommand;
  readonly ranks: number;
  /** The environment that the ranks inherit, before what is theirs alone. */
  readonly variables: Variables;
  readonly observer: RunObserver;
  /** How long the other ranks may take to leave after one failed. */
  readonly graceMs?: number;
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
  const port = await freePort(LOOPBACK);
  const runId = randomBytes(16).toString('hex');
  const variables = Array.from({ length: options.ranks }, (_, rank) =>
    rankVariables(options, budget, { rank, port, runId }),
  );
  return new Supervisor(options, variables).run();
}

class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #processes: readonly RankProcess[];
  readonly #memoryKillsBefore = outOfMemoryKills();
  #state: RunState;
  readonly #stallsTold = new Set<string>();
  #grace: NodeJS.Timeout | undefined;

  constructor(options: SupervisorOptions, variables: readonly Readonly<Record<string, string>>[]) {
    this.#options = options;
    this.#state = initialRunState(options.ranks);
    this.#processes = variables.map(
      (own, rank) =>
        new RankProcess(options.command, own, {
          event: (event) => this.#hear(rank, event),
          output: (lines) => options.observer.output(rank, lines),
          exit: (exit) => this.#take({ kind: 'exit', rank, exit }),
        }),
    );
  }

  async run(): Promise<Verdict> {
    const giveSignalsBack = onStopSignals({
      first: (signal) => this.#take({ kind: 'stop', signal }),
      again: (signal) => this.#take({ kind: 'leave', signal }),
    });
    const watch = setInterval(() => this.#tellStalls(Date.now()), STALL_CHECK_MS);
    await Promise.all(this.#processes.map((process) => process.closed));
    clearInterval(watch);
    giveSignalsBack();
    clearTimeout(this.#grace);
    invariant(isOver(this.#state), 'all processes are gone, but not all exits were noted');
    const verdict = judge(this.#state, {
      sections: this.#processes.map((process) => process.section),
      isOutOfMemory: outOfMemoryKills() > this.#memoryKillsBefore,
      now: Date.now(),
    });
    for (const process of this.#processes) process.dispose();
    return verdict;
  }

  #tellStalls(now: number): void {
    for (const [rank, { section }] of this.#processes.entries()) {
      if (section === undefined || this.#state.ranks[rank]?.exit !== undefined) continue;
      const key = `${rank} ${section.since}`;
      if (now - section.since < STALL_MS || this.#stallsTold.has(key)) continue;
      this.#stallsTold.add(key);
      this.#options.observer.stalled(rank, section, Math.round((now - section.since) / 1000));
    }
  }

  #hear(rank: number, event: RankEvent): void {
    switch (event.event) {
      case 'error':
        this.#take({ kind: 'error', rank, event });
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

interface Place {
  readonly rank: number;
  readonly port: number;
  readonly runId: string;
}

function rankVariables(
  options: SupervisorOptions,
  budget: ThreadBudget,
  place: Place,
): Record<string, string> {
  const inherited = Object.entries(options.variables).flatMap(([name, value]) =>
    value === undefined || name.startsWith('TORCHELASTIC_') ? [] : [[name, value] as const],
  );
  return {
    ...Object.fromEntries(inherited),
    ...budget.variables,
    GLOO_SOCKET_IFNAME: 'lo',
    RANK: String(place.rank),
    LOCAL_RANK: String(place.rank),
    WORLD_SIZE: String(options.ranks),
    LOCAL_WORLD_SIZE: String(options.ranks),
    MASTER_ADDR: LOOPBACK,
    MASTER_PORT: String(place.port),
    [RUN_ID_VARIABLE]: place.runId,
    [SUPERVISED_VARIABLE]: '1',
  };
}

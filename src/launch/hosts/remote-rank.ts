import { constants } from 'node:os';
import { type ErrorCode, exitCodeOf } from '../../base/error-codes.js';
import type { TrainyardError } from '../../base/errors.js';
import { decodeEvent } from '../events.js';
import type { Section } from '../flight-record.js';
import type { RankListener } from '../rank-process.js';
import type { StopSignal } from '../stop-signals.js';
import type { SupervisedRank } from '../supervisor.js';
import { deferred } from './deferred.js';
import { type HostOrder, type HostWord, sectionReceived } from './protocol.js';

/** Why ranks of a host are no more. */
export interface Loss {
  readonly code: ErrorCode;
  readonly report: TrainyardError['report'];
}

/** What leads to the agent of a host. */
export interface HostLine {
  tell(order: HostOrder): void;
  /** Gives the host up. */
  abandon(): void;
}

/** How long a host may take over killing a rank before it is given up. */
const KILL_MS = 10_000;

/** A rank on another host, as the supervisor sees it. */
export class RemoteRank implements SupervisedRank {
  readonly #connection: HostLine;
  readonly #number: number;
  readonly #closed = deferred<void>();
  readonly closed = this.#closed.promise;
  #listener: RankListener | undefined;
  #section: Section | undefined;
  #worldRank = 0;
  #isGone = false;
  #deadline: NodeJS.Timeout | undefined;

  constructor(number: number, connection: HostLine) {
    this.#number = number;
    this.#connection = connection;
    void this.closed.then(() => clearTimeout(this.#deadline));
  }

  get section(): Section | undefined {
    return this.#section;
  }

  attach(worldRank: number, listener: RankListener): this {
    this.#worldRank = worldRank;
    this.#listener = listener;
    return this;
  }

  signal(signal: StopSignal): void {
    this.#connection.tell({ order: 'signal', rank: this.#number, signal });
  }

  kill(): void {
    this.#connection.tell({ order: 'kill', rank: this.#number });
    this.#deadline ??= setTimeout(() => this.#connection.abandon(), KILL_MS);
  }

  dispose(): void {
    this.#listener = undefined;
  }

  async hear(word: Exclude<HostWord, { word: 'ready' | 'refused' }>): Promise<void> {
    switch (word.word) {
      case 'event': {
        const event = decodeEvent(word.line);
        // Its clock is its own.
        if (event?.event === 'error') this.#listener?.event({ ...event, time: Date.now() });
        else if (event !== undefined) this.#listener?.event(event);
        break;
      }
      case 'output':
        await this.#listener?.output(word.lines);
        break;
      case 'section':
        this.#section = sectionReceived(word.section);
        break;
      case 'exit':
        this.#exit(word.code, signalNamed(word.signal));
        break;
      case 'closed':
        this.#closed.resolve();
        break;
      default:
        word satisfies never;
    }
  }

  /** Lines of ssh itself, or of the agent. */
  async hearHost(lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await this.#listener?.output(lines);
  }

  /** The host is gone, or does not want to. */
  lose({ code, report }: Loss): void {
    if (!this.#isGone) {
      const exit_code = exitCodeOf(code);
      const rank = this.#worldRank;
      this.#listener?.event({ event: 'error', rank, code, report, exit_code, time: Date.now() });
      this.#exit(exit_code, null);
    }
    this.#closed.resolve();
  }

  #exit(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#listener?.exit({ code, signal, time: Date.now() });
  }
}

/** The same names there as here. */
function signalNamed(name: string | null): NodeJS.Signals | null {
  return name !== null && isSignal(name) ? name : null;
}

function isSignal(name: string): name is NodeJS.Signals {
  return Object.hasOwn(constants.signals, name);
}

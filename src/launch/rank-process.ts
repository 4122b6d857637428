import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeEvent, type RankEvent } from './events.js';
import { createFlightRecord, readFlightRecord, type Section } from './flight-record.js';
import { OutputLines } from './output-lines.js';
import { RANK_DESCRIPTORS } from './rank-channel.js';
import type { RankExit } from './run-state.js';

/** A program and its arguments; nothing passes through a shell. */
export interface RankCommand {
  readonly executable: string;
  readonly arguments: readonly string[];
}

/** What a supervisor hears from one rank. */
export interface RankListener {
  event(event: RankEvent): void;
  /** Lines that the process printed; resolves when there is room for more. */
  output(lines: readonly string[]): Promise<void>;
  /** The process is gone; its last words may still come. */
  exit(exit: RankExit): void;
}

/**
 * The pipes of a dead process are read on while anything comes in a pause, and not for ever: a process that left
 * its group may hold their other ends.
 */
const PAUSE_MS = 2000;
const MOST_PAUSES = 15;

/** What a shell says of a program that cannot be started. */
const CANNOT_START = 127;

/** One rank's process, the leader of a process group of its own. */
export class RankProcess {
  readonly #child: ChildProcess;
  readonly #record = createFlightRecord();
  readonly #listener: RankListener;
  /** Output came since this was last set to false. */
  #isHeard = false;
  /** Resolves when the process is gone and all that it said has been heard. */
  readonly closed: Promise<void>;

  constructor(command: RankCommand, variables: Readonly<Record<string, string>>, listener: RankListener) {
    this.#listener = listener;
    this.#child = spawn(command.executable, command.arguments, {
      env: variables,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe', this.#record],
    });
    const heard = Promise.all([
      this.#hearOutput(1),
      this.#hearOutput(2),
      this.#hearEvents(),
      this.#keepLifeline(),
    ]);
    this.closed = this.#exited().then(() => this.#drained(heard));
  }

  /** What the rank is doing, or was when it died. */
  get section(): Section | undefined {
    return readFlightRecord(this.#record);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Ends the process and all that it started. */
  kill(): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // The group is empty already.
    }
  }

  /** Gives the record of its sections back; after this, `section` must not be asked for. */
  dispose(): void {
    closeSync(this.#record);
  }

  async #exited(): Promise<void> {
    const exit = new Promise<Omit<RankExit, 'time'>>((resolve) => {
      this.#child.once('exit', (code, signal) => resolve({ code, signal }));
      this.#child.once('error', () => {
        if (this.#child.pid === undefined) resolve({ code: CANNOT_START, signal: null });
      });
    });
    const how = await exit;
    this.kill();
    this.#listener.exit({ ...how, time: Date.now() });
  }

  /** Ends with the last byte, or when nothing has come for a while: a stray process may hold a pipe open. */
  async #drained(heard: Promise<unknown>): Promise<void> {
    const over = heard.then(() => true);
    for (let pauses = 0; pauses < MOST_PAUSES; pauses += 1) {
      this.#isHeard = false;
      const isOver = await Promise.race([over, sleep(PAUSE_MS, false, { ref: false })]);
      if (isOver || !this.#isHeard) break;
    }
    for (const stream of this.#child.stdio) stream?.destroy();
  }

  async #hearOutput(descriptor: 1 | 2): Promise<void> {
    const lines = new OutputLines();
    for await (const bytes of this.#pipe(descriptor)) {
      this.#isHeard = true;
      await this.#listener.output(lines.push(bytes as Buffer));
    }
    await this.#listener.output(lines.end());
  }

  async #hearEvents(): Promise<void> {
    for await (const line of createInterface({ input: this.#pipe(RANK_DESCRIPTORS.events) })) {
      const event = decodeEvent(line);
      if (event !== undefined) this.#listener.event(event);
    }
  }

  /** The rank watches its end; ours only has to stay open. */
  async #keepLifeline(): Promise<void> {
    await once(this.#pipe(RANK_DESCRIPTORS.lifeline).resume(), 'close');
  }

  /** Our end of one of the pipes; empty when the process could not be started. */
  #pipe(descriptor: number): Readable {
    const stream = this.#child.stdio[descriptor];
    if (!(stream instanceof Readable)) return Readable.from([]);
    stream.on('error', () => undefined);
    return stream;
  }
}

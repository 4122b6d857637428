import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { TrainyardError } from '../../base/errors.js';
import { OutputLines } from '../output-lines.js';
import { deferred } from './deferred.js';
import { decodeWord, encodeLine, type HostOrder, type HostWord, type StartOrder } from './protocol.js';
import { type HostLine, type Loss, RemoteRank } from './remote-rank.js';

/** What an agent says first. */
export type HostReady = Extract<HostWord, { word: 'ready' }>;

/**
 * Never asks for a password, never trusts an unknown host (that is for ssh's own settings to say), and notices within half
 * a minute that a host is gone.
 */
const SSH_OPTIONS = [
  ...['-o', 'BatchMode=yes'],
  ...['-o', 'ServerAliveInterval=10'],
  ...['-o', 'ServerAliveCountMax=3'],
] as const;

const CONNECT_MS = 60_000;
const STAY_MS = 5000;
const LEAVE_MS = 3000;
const LAST_WORDS = 5;
const NOT_FOUND = 127;
const SSH_FAILED = 255;

/**
 * The agent on another host, over the system's ssh. ssh is given a fixed list of words and no more; what varies, the
 * run's secret with it, goes in as lines.
 */
export class HostConnection implements HostLine {
  readonly #ssh: ChildProcessWithoutNullStreams;
  readonly #ranks: readonly RemoteRank[];
  readonly #lastWords: string[] = [];
  readonly #staying: NodeJS.Timeout;
  readonly #gone: Promise<void>;
  /** @throws TrainyardError HOST_UNREACHABLE, HOST_UNFIT */
  readonly ready: Promise<HostReady>;

  /** @param agent the words that start the agent there; a shell over there reads them */
  constructor(
    readonly name: string,
    ranks: number,
    agent: readonly string[],
  ) {
    // A group of its own, which Ctrl-C at the terminal does not reach: the ranks are to hear of it from us.
    this.#ssh = spawn('ssh', [...SSH_OPTIONS, '--', name, ...agent], { detached: true });
    this.#ssh.stdin.on('error', () => undefined);
    this.#ranks = Array.from({ length: ranks }, (_, rank) => new RemoteRank(rank, this));
    this.#staying = setInterval(() => this.tell({ order: 'stay' }), STAY_MS).unref();
    const first = deferred<HostReady>();
    this.ready = first.promise;
    const heard = Promise.all([this.#hear(first.resolve), this.#hearErrors()]);
    this.#gone = this.#ended().then(async (how) => {
      await Promise.race([heard, sleep(LEAVE_MS, undefined, { ref: false })]);
      clearInterval(this.#staying);
      first.reject(this.#couldNotStart(how));
      for (const rank of this.#ranks) rank.lose(this.#lost(how));
    });
    void this.#demandReady();
  }

  get ranks(): readonly RemoteRank[] {
    return this.#ranks;
  }

  start(order: Omit<StartOrder, 'order'>): void {
    this.tell({ order: 'start', ...order });
  }

  tell(order: HostOrder): void {
    if (this.#ssh.stdin.writable) this.#ssh.stdin.write(encodeLine(order));
  }

  /** Hangs up without waiting; whatever still runs there is killed by the agent, which sees its input end. */
  abandon(): void {
    this.#ssh.stdin.destroy();
    this.#ssh.kill('SIGKILL');
  }

  /** Hangs up. */
  async close(): Promise<void> {
    this.#ssh.stdin.end();
    await Promise.race([this.#gone, sleep(LEAVE_MS, undefined, { ref: false })]);
    this.abandon();
    await this.#gone;
  }

  async #demandReady(): Promise<void> {
    const late = sleep(CONNECT_MS, 'late', { ref: false });
    const said = this.ready.then(
      () => 'ready',
      () => 'failed',
    );
    if ((await Promise.race([late, said])) === 'late') this.abandon();
  }

  /** The exit code of ssh; undefined when it could not be started, null when it was killed. */
  #ended(): Promise<number | null | undefined> {
    return new Promise((resolve) => {
      this.#ssh.once('exit', (code) => resolve(code));
      this.#ssh.once('error', () => {
        if (this.#ssh.pid === undefined) resolve(undefined);
      });
    });
  }

  async #hear(isReady: (ready: HostReady) => void): Promise<void> {
    for await (const line of createInterface({ input: this.#ssh.stdout })) {
      const word = decodeWord(line);
      if (word === undefined) continue;
      switch (word.word) {
        case 'ready':
          isReady(word);
          break;
        case 'refused': {
          const report = { what: word.what, where: this.name, got: word.got };
          for (const rank of this.#ranks) rank.lose({ code: 'HOST_UNFIT', report });
          break;
        }
        default:
          await this.#ranks[word.rank]?.hear(word);
      }
    }
  }

  async #hearErrors(): Promise<void> {
    const lines = new OutputLines();
    for await (const bytes of this.#ssh.stderr) {
      const read = lines.push(bytes as Buffer);
      this.#lastWords.push(...read);
      this.#lastWords.splice(0, this.#lastWords.length - LAST_WORDS);
      await this.#ranks[0]?.hearHost(read);
    }
    this.#lastWords.push(...lines.end());
  }

  #couldNotStart(how: number | null | undefined): TrainyardError {
    const got = this.#lastWords.join('\n') || undefined;
    const said = got === undefined ? {} : { got };
    if (how === undefined) {
      return new TrainyardError('HOST_UNFIT', {
        what: 'The program ssh cannot be started.',
        cure: 'install an ssh client on this machine',
      });
    }
    if (how === NOT_FOUND) {
      return new TrainyardError('HOST_UNFIT', {
        what: `Trainyard is not where it is here on the host ${this.name}.`,
        ...said,
        cure: 'install the same Node.js and the same clone at the same paths on every host, or share the folder',
      });
    }
    if (how === SSH_FAILED || how === null) {
      return new TrainyardError('HOST_UNREACHABLE', {
        what:
          how === null
            ? `The host ${this.name} did not answer in time.`
            : `ssh cannot reach the host ${this.name}.`,
        ...said,
        cure: `see that \`ssh -o BatchMode=yes ${this.name} true\` works: a known host key, a key without a password or in an agent`,
      });
    }
    return new TrainyardError('HOST_UNFIT', {
      what: `Trainyard cannot be started on the host ${this.name}: exit code ${how}.`,
      ...said,
      cure: 'install the same Node.js and the same clone at the same paths on every host, or share the folder',
    });
  }

  #lost(how: number | null | undefined): Loss {
    const got = this.#lastWords.join('\n');
    return {
      code: 'HOST_LOST',
      report: {
        what: `The connection to the host ${this.name} ended${how === null ? '' : ` (ssh: exit code ${how})`}.`,
        ...(got !== '' && { got }),
        cure: 'see whether the host is up and reachable, then start again; its ranks are killed there as soon as it notices',
      },
    };
  }
}

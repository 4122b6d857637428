import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from '../src/launch/free-port.js';
import type { RankAnswer, RankTask } from './rank-host.js';

const HOST = join(import.meta.dirname, 'rank-host.js');

/** Processes that have nothing to do at the moment. */
const idle: RankHost[] = [];

/**
 * Runs a program once for each rank of a world, side by side, in processes that may have been ranks of other worlds before;
 * every rank must end well.
 *
 * @param program a file beside this one that exports `run`, a `RankProgram`
 * @returns what each rank returned
 */
export async function runRanks<Result>(
  program: string,
  ranks: number,
  args: readonly string[] = [],
): Promise<readonly Result[]> {
  const port = await freePort('127.0.0.1');
  const hosts = Array.from({ length: ranks }, () => idle.pop() ?? new RankHost());
  const answers = await Promise.all(
    hosts.map((host, rank) => host.ask({ program, place: { rank, worldSize: ranks, port }, args })),
  );
  const errors = answers.flatMap((answer, rank) =>
    'error' in answer ? [`rank ${rank} of ${ranks}: ${answer.error}`] : [],
  );
  // What a rank that failed, or one that waited for it, has left behind nobody knows.
  for (const host of hosts) errors.length > 0 ? host.end() : idle.push(host);
  assert.deepEqual(errors, []);
  return answers.map((answer) => JSON.parse('result' in answer ? answer.result : '') as Result);
}

/** A process that can be a rank. It ends with this one. */
class RankHost {
  readonly #child: ChildProcess;
  #said = '';

  constructor() {
    // Tiny kernels on several threads spend their time waiting for each other.
    const env = { ...process.env, OMP_NUM_THREADS: '1' };
    const execArgv = ['--enable-source-maps'];
    this.#child = fork(HOST, { env, execArgv, stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
    this.#child.stderr?.on('data', (text: Buffer) => {
      this.#said = `${this.#said}${text}`.slice(-10_000);
    });
    this.#leave();
  }

  async ask(task: RankTask): Promise<RankAnswer> {
    this.#child.ref();
    this.#child.channel?.ref();
    this.#child.send(task);
    const stop = new AbortController();
    const { signal } = stop;
    const answer = await Promise.race([
      once(this.#child, 'message', { signal }).then(([message]) => message as RankAnswer),
      once(this.#child, 'exit', { signal }).then(([code, by]) => ({
        error: `it ended with ${code ?? by}\n${this.#said}`,
      })),
    ]);
    stop.abort();
    this.#leave();
    return answer;
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  /** Lets this process end while that one waits for a task. */
  #leave(): void {
    this.#child.unref();
    this.#child.channel?.unref();
    const { stderr } = this.#child;
    if (stderr !== null && 'unref' in stderr && typeof stderr.unref === 'function') stderr.unref();
  }
}

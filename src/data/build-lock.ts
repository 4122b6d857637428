import { closeSync, openSync, readFileSync, rmSync, statSync, utimesSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MILLISECONDS = 50;
const REFRESH_MILLISECONDS = 2_000;

/** A lock that was not refreshed for so long has lost its owner, as far as another host can tell. */
const STALE_MILLISECONDS = 60_000;

/**
 * A lock file by which one process makes what several want.
 *
 * It saves work and protects nothing: where a judgement about a lost owner is wrong, two processes build the same
 * thing under temporary names of their own.
 */
export class BuildLock {
  readonly #path: string;
  #refreshedAt = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Takes the lock, or says that somebody else has it. */
  tryAcquire(): boolean {
    try {
      const descriptor = openSync(this.#path, 'wx');
      try {
        writeSync(descriptor, `${process.pid} ${hostname()}`);
      } catch (error) {
        this.release();
        throw error;
      } finally {
        closeSync(descriptor);
      }
      this.#refreshedAt = Date.now();
      return true;
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
      return false;
    }
  }

  /** Tells the others, every few seconds, that the owner is at work. */
  refresh(): void {
    const now = Date.now();
    if (now - this.#refreshedAt < REFRESH_MILLISECONDS) return;
    this.#refreshedAt = now;
    try {
      utimesSync(this.#path, new Date(now), new Date(now));
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
    }
  }

  release(): void {
    rmSync(this.#path, { force: true });
  }

  /** Returns when the lock is gone; one whose owner is lost is removed. */
  async waitForChange(): Promise<void> {
    while (!this.#isGone()) {
      if (this.#isAbandoned()) {
        this.release();
        return;
      }
      await sleep(POLL_MILLISECONDS);
    }
  }

  #isGone(): boolean {
    return statSync(this.#path, { throwIfNoEntry: false }) === undefined;
  }

  #isAbandoned(): boolean {
    const age = Date.now() - (statSync(this.#path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > STALE_MILLISECONDS) return true;
    // A lock this young may not have its owner written into it yet.
    if (age < REFRESH_MILLISECONDS) return false;
    const [pid, host] = this.#owner();
    return host === hostname() && !isRunning(pid);
  }

  #owner(): readonly [pid: number, host: string] {
    try {
      const [pid = '', host = ''] = readFileSync(this.#path, 'utf8').split(' ');
      return [Number(pid), host];
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
      return [0, ''];
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !isSystemError(error, 'ESRCH');
  }
}

function isSystemError(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after } from 'node:test';
import { freePort } from '../src/launch/free-port.js';

const PROGRAM = join(import.meta.dirname, 'process-group-program.js');

interface Ending {
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
  readonly seconds: number;
}

const running = new Set<ChildProcess>();
/** Where ranks that fail leave their records. */
const temporary = mkdtempSync(join(tmpdir(), 'trainyard-process-group-'));
after(() => {
  for (const child of running) child.kill('SIGKILL');
  rmSync(temporary, { recursive: true });
});

/** Runs a scenario on every rank of a world and requires that each succeeds. */
export async function passes(scenario: string, worldSize: number, timeoutMs = 20_000): Promise<void> {
  const endings = await Promise.all((await start(scenario, worldSize, worldSize, timeoutMs)).map(ending));
  for (const [rank, { status, output, errors }] of endings.entries()) {
    assert.equal(status, 0, `${scenario}, rank ${rank} of ${worldSize}: ${output}\n${errors}`);
  }
}

/** Starts the first `count` ranks of a world. */
export async function start(
  scenario: string,
  worldSize: number,
  count: number,
  timeoutMs: number,
): Promise<readonly ChildProcess[]> {
  const port = await freePort('127.0.0.1');
  return Array.from({ length: count }, (_, rank) => startRank(scenario, rank, worldSize, port, timeoutMs));
}

export function startRank(
  scenario: string,
  rank: number,
  worldSize: number,
  port: number,
  timeoutMs: number,
): ChildProcess {
  const args = ['--enable-source-maps', PROGRAM, scenario, ...[rank, worldSize, port, timeoutMs].map(String)];
  const child = spawn(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, OMP_NUM_THREADS: '1', TMPDIR: temporary },
  });
  running.add(child);
  return child;
}

export async function ending(child: ChildProcess): Promise<Ending> {
  const started = performance.now();
  assert(child.stdout !== null && child.stderr !== null);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  running.delete(child);
  return { status: child.exitCode, output, errors, seconds: (performance.now() - started) / 1000 };
}

/** The error that a rank ended with. */
export function failure(each: Ending | undefined): { readonly [field: string]: string | undefined } {
  assert.equal(each?.status, 3, `${each?.output}\n${each?.errors}`);
  return JSON.parse(each?.output ?? '') as { readonly [field: string]: string | undefined };
}

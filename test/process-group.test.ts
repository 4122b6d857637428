import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
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

test('a world of one: the group that does nothing, and Gloo', async () => {
  for (const scenario of ['single', 'gloo', 'rendezvous']) await passes(scenario, 1);
});

test('two ranks conform', async () => {
  await passes('gloo', 2);
  await passes('rendezvous', 2);
  await passes('shared memory', 2);
});

test('three ranks conform', async () => {
  await passes('rendezvous', 3);
  await passes('shared memory', 3);
});

test('shared memory with a thread beside the caller', async () => {
  await passes('shared memory, a thread beside', 2);
  await passes('shared memory, a thread beside', 3);
});

test('shared memory with more ranks than cores', async () => {
  await passes('shared memory', 5);
});

for (const ranks of [1, 2, 3, 4, 5, 6, 7]) {
  test(`every algorithm of our own conforms on ${ranks}`, async () => {
    await passes('every algorithm', ranks);
  });
}

for (const algorithm of ['ring', 'hierarchical']) {
  test(`a dead peer is named by ${algorithm}, with the collective`, async () => {
    const endings = await Promise.all((await start(`dead peer by ${algorithm}`, 4, 4, 60_000)).map(ending));
    for (const each of endings.slice(0, -1)) {
      const { code, what = '', where = '' } = failure(each);
      assert.equal(code, 'COLLECTIVE_FAILED');
      assert.match(what, new RegExp(`^allReduce \\(sum\\) of float32 \\[1000\\] by ${algorithm} failed: `));
      assert.match(what, /: a peer is gone/);
      assert.match(where, /^rank [0-2] of 4$/);
      assert(each.seconds < 30, `it took ${each.seconds} s`);
    }
    // The rank that waits for the dead one itself: the next in the ring, or the other on its host.
    const { what = '', got = '' } = failure(endings[algorithm === 'ring' ? 0 : 2]);
    assert.match(`${what} ${got}`, /rank 3/);
  });
}

test('a peer that does not take part is named at the deadline, by a planned algorithm', async () => {
  const [first, second] = await start('absent peer by ring', 2, 2, 1_000);
  assert(first !== undefined && second !== undefined);
  const { what = '' } = failure(await ending(first));
  second.kill('SIGKILL');
  assert.match(
    what,
    /^allReduce \(mean\) of float32 \[8\] by ring failed: receive from rank 1 of float32 \[4\] was not finished within 1 s/,
  );
});

test('an algorithm that goes between hosts is refused on one', async () => {
  const endings = await Promise.all((await start('hierarchical on one host', 2, 2, 20_000)).map(ending));
  for (const error of endings.map(failure)) {
    assert.equal(error.code, 'CONFIG_CONFLICT');
    assert.equal(error.where, 'communication.algorithm');
    assert.match(error.got ?? '', /all ranks are on one/);
  }
});

for (const where of ['', ' in shared memory']) {
  test(`a dead peer fails the others long before the deadline${where}`, async () => {
    const [first, second] = await Promise.all((await start(`dead peer${where}`, 2, 2, 60_000)).map(ending));
    assert.equal(second?.status, null);
    const error = failure(first);
    assert.equal(error.code, 'COLLECTIVE_FAILED');
    assert.match(error.what ?? '', /^allReduce( \(sum\))? of float32 \[1000\] failed: a peer is gone/);
    assert.match(error.where ?? '', /^rank 0 of 2, allReduce \(sum\) of float32 × 1000 \(collective 1\)$/);
    assert((first?.seconds ?? 0) < 30, `it took ${first?.seconds} s`);
    if (where !== '') assert.equal(error.got, 'rank 1 is gone');
  });

  test(`a peer that does not take part fails the others at the deadline${where}`, async () => {
    const [first, second] = await start(`absent peer${where}`, 2, 2, 1_000);
    assert(first !== undefined && second !== undefined);
    const error = failure(await ending(first));
    second.kill('SIGKILL');
    assert.equal(error.code, 'COLLECTIVE_FAILED');
    assert.match(error.what ?? '', /^allReduce( \(mean\))? of float32 \[8\] was not finished within 1 s/);
  });
}

test('ranks in different operations are told so, all of them', async () => {
  const endings = await Promise.all((await start('other operation', 3, 3, 60_000)).map(ending));
  const errors = endings.map(failure);
  for (const { code, what } of errors) {
    assert.equal(code, 'COLLECTIVE_FAILED');
    assert.match(what ?? '', /the ranks are not in the same operation/);
  }
  assert.match(
    errors[0]?.got ?? '',
    /ranks 0, 2 in allReduce \(mean\) of float32 × 9 .*; rank 1 in broadcast from rank 0 of float32 × 8/,
  );
});

test('a save that takes longer than the deadline is waited for', async () => {
  await passes('slow save', 2, 2_000);
});

test('a saver that dies fails the others at once', async () => {
  const [, second] = await Promise.all((await start('dead saver', 2, 2, 60_000)).map(ending));
  const error = failure(second);
  assert.equal(error.code, 'COLLECTIVE_FAILED');
  assert.match(error.what ?? '', /failed: a peer is gone/);
  assert((second?.seconds ?? 0) < 30, `it took ${second?.seconds} s`);
});

test('ranks that never come are named by those that did', async () => {
  const endings = await Promise.all((await start('meet', 4, 2, 1_500)).map(ending));
  for (const each of endings) {
    const error = failure(each);
    assert.equal(error.code, 'RENDEZVOUS_FAILED');
    assert.equal(error.what, 'Ranks 2, 3 did not come within 1.5 s.');
    assert.equal(error.got, '2 ranks');
  }
});

test('a store that does not answer is named with its address', async () => {
  const port = await freePort('127.0.0.1');
  const error = failure(await ending(startRank('meet', 1, 2, port, 1_500)));
  assert.equal(error.code, 'RENDEZVOUS_FAILED');
  assert.equal(error.what, `The store at 127.0.0.1:${port} did not answer within 1.5 s.`);
});

test('two processes with one rank are told so', async () => {
  const port = await freePort('127.0.0.1');
  const ranks = [0, 1, 1].map((rank) => startRank('meet', rank, 3, port, 60_000));
  const error = failure(await Promise.race(ranks.slice(1).map(ending)));
  for (const each of ranks) each.kill('SIGKILL');
  assert.equal(error.what, 'Another process of this run already is rank 1.');
});

test('ranks end cleanly again and again', async () => {
  for (let run = 0; run < 5; run += 1) await passes('meet', 2);
});

/** Runs a scenario on every rank of a world and requires that each succeeds. */
async function passes(scenario: string, worldSize: number, timeoutMs = 20_000): Promise<void> {
  const endings = await Promise.all((await start(scenario, worldSize, worldSize, timeoutMs)).map(ending));
  for (const [rank, { status, output, errors }] of endings.entries()) {
    assert.equal(status, 0, `${scenario}, rank ${rank} of ${worldSize}: ${output}\n${errors}`);
  }
}

/** Starts the first `count` ranks of a world. */
async function start(
  scenario: string,
  worldSize: number,
  count: number,
  timeoutMs: number,
): Promise<readonly ChildProcess[]> {
  const port = await freePort('127.0.0.1');
  return Array.from({ length: count }, (_, rank) => startRank(scenario, rank, worldSize, port, timeoutMs));
}

function startRank(
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

async function ending(child: ChildProcess): Promise<Ending> {
  const started = performance.now();
  assert(child.stdout !== null && child.stderr !== null);
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  running.delete(child);
  return { status: child.exitCode, output, errors, seconds: (performance.now() - started) / 1000 };
}

/** The error that a rank ended with. */
function failure(each: Ending | undefined): { readonly [field: string]: string | undefined } {
  assert.equal(each?.status, 3, `${each?.output}\n${each?.errors}`);
  return JSON.parse(each?.output ?? '') as { readonly [field: string]: string | undefined };
}

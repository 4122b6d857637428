import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { RankEvent } from '../src/launch/events.js';
import { supervise } from '../src/launch/supervisor.js';
import type { Verdict } from '../src/launch/verdict.js';
import { FOLDER_VARIABLE, type RankScript } from './launch-rank-script.js';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

interface Run {
  readonly verdict: Verdict;
  readonly events: readonly RankEvent[];
  readonly lines: readonly { readonly rank: number; readonly line: string }[];
  readonly failingToEndMs: number;
  readonly folder: string;
}

async function run(script: RankScript, ranks = 2): Promise<Run> {
  const folder = newFolder();
  const events: RankEvent[] = [];
  const lines: { rank: number; line: string }[] = [];
  let failingAt = performance.now();
  const verdict = await supervise({
    command: {
      executable: process.execPath,
      arguments: [program('launch-rank-program.js'), JSON.stringify(script)],
    },
    ranks,
    variables: { ...process.env, [FOLDER_VARIABLE]: folder },
    observer: {
      event: (event) => void events.push(event),
      output: async (rank, texts) => void lines.push(...texts.map((line) => ({ rank, line }))),
      stopping: () => undefined,
      failing: () => {
        failingAt = performance.now();
      },
      stalled: () => undefined,
    },
  });
  assertAllGone(folder, ranks);
  return { verdict, events, lines, failingToEndMs: performance.now() - failingAt, folder };
}

test('two ranks train to the end; rank 0 speaks for both', async () => {
  const { verdict, events, lines } = await run({});
  assert.deepEqual(verdict, { exitCode: 0, consequences: [] });
  const steps = events.flatMap((event) => (event.event === 'step' ? [event] : []));
  assert.deepEqual(
    steps.map(({ step }) => step),
    [1, 2, 3, 4, 5],
  );
  assert.ok(steps.every(({ grad_norm }) => Number.isNaN(grad_norm)));
  assert.deepEqual(lines, []);
});

test('a rank that throws is the cause, and the others leave', async () => {
  const { verdict, folder } = await run({ 0: 'train-for-ever', 1: 'throw' });
  assert.equal(verdict.exitCode, 1);
  assert.equal(verdict.cause?.rank, 1);
  assert.equal(verdict.cause?.code, 'INTERNAL');
  assert.equal(verdict.cause?.report.what, 'Error: the data ran out');
  assert.equal(verdict.cause?.report.where, 'rank 1, step 3, forward block.0 micro 0');
  assert.match(verdict.cause?.stack ?? '', /misbehave/);
  assert.equal(readFileSync(join(folder, 'saved-0'), 'utf8'), 'yes');
});

test('a promise that nobody waits for counts as an exception', async () => {
  const { verdict } = await run({ 1: 'reject' });
  assert.equal(verdict.exitCode, 1);
  assert.equal(verdict.cause?.report.what, 'Error: nobody waited for this');
});

for (const [task, pattern] of [
  ['kill', /Rank 1 of 2 was killed by SIGKILL\./],
  ['segfault', /Rank 1 of 2 was killed by SIGSEGV \(a memory access/],
  ['exit-3', /Rank 1 of 2 ended with exit code 3\./],
] as const) {
  test(`a rank lost by ${task} is named with its last instruction; the run may be tried again`, async () => {
    const { verdict, failingToEndMs } = await run({ 0: 'train-for-ever', 1: task });
    assert.equal(verdict.exitCode, 75);
    assert.equal(verdict.cause?.code, 'RANK_LOST');
    assert.match(verdict.cause?.report.what ?? '', pattern);
    assert.equal(verdict.cause?.report.where, 'rank 1, step 3, forward block.0 micro 0');
    assert.ok(failingToEndMs < 5000, `the rest left after ${failingToEndMs} ms`);
  });
}

test('a rank that ends before its first word is named', async () => {
  const { verdict } = await run({ 0: 'train-for-ever', 1: 'no-frame' });
  assert.equal(verdict.exitCode, 75);
  assert.equal(verdict.cause?.report.where, 'rank 1, before its first step');
});

for (const task of ['stubborn', 'blocked', 'orphan'] as const) {
  test(`a survivor that does not leave (${task}) is killed within 5 seconds, with its children`, async () => {
    const { verdict, failingToEndMs, folder } = await run({ 0: task, 1: 'kill' });
    assert.equal(verdict.cause?.rank, 1);
    assert.match(
      verdict.consequences.join('\n'),
      /rank 0 did not leave when asked and was killed \(rank 0, step 3, /,
    );
    assert.ok(failingToEndMs < 5000, `the rest left after ${failingToEndMs} ms`);
    if (task === 'orphan') await assertGone(Number(readFileSync(join(folder, 'child-0'), 'utf8')));
  });
}

test('an error of the configuration is exit code 2 and said once', async () => {
  const { verdict } = await run({ 0: 'error-CONFIG_INVALID', 1: 'error-CONFIG_INVALID' });
  assert.equal(verdict.exitCode, 2);
  assert.deepEqual(verdict.cause?.report, { what: 'as told: CONFIG_INVALID', where: 'here' });
  assert.deepEqual(verdict.consequences, []);
});

test('a failed collective is the consequence of the failure that caused it', async () => {
  const { verdict } = await run({ 0: 'error-COLLECTIVE_FAILED', 1: 'throw' });
  assert.equal(verdict.cause?.rank, 1);
  assert.equal(verdict.exitCode, 1);
  assert.match(verdict.consequences.join(), /rank 0 then failed: COLLECTIVE_FAILED/);
});

test('a failed collective without another cause names the place of every rank', async () => {
  const { verdict } = await run({ 0: 'error-COLLECTIVE_FAILED', 1: 'blocked' });
  assert.equal(verdict.exitCode, 75);
  assert.equal(verdict.cause?.rank, 0);
  assert.match(verdict.cause?.report.got ?? '', /rank 1, step 3, forward block\.0 micro 0 since \d/);
});

test('two hundred thousand lines arrive in order and whole', async () => {
  const { verdict, lines } = await run({ 0: 'flood' }, 1);
  assert.equal(verdict.exitCode, 0);
  assert.equal(lines.length, 200_000);
  assert.ok(lines.every(({ line }, index) => line === `line ${index} of very many`));
});

test('binary output is shown harmlessly', async () => {
  const { verdict, lines } = await run({ 0: 'garbage' }, 1);
  assert.equal(verdict.exitCode, 0);
  assert.equal(lines[0]?.line, '\ufffd\ufffdA');
  assert.ok(lines.length > 1 && lines.every(({ line }) => !/[^\P{Cc}\t]/u.test(line)));
});

test('a program that is not there ends the run with a reason', async () => {
  const verdict = await supervise({
    command: { executable: '/nowhere/at/all', arguments: [] },
    ranks: 2,
    variables: {},
    observer: {
      event: () => undefined,
      output: async () => undefined,
      stopping: () => undefined,
      failing: () => undefined,
      stalled: () => undefined,
    },
  });
  assert.equal(verdict.exitCode, 75);
  assert.match(verdict.cause?.report.what ?? '', /ended with exit code 127/);
});

test("a supervisor that is killed leaves no rank behind, not even a blocked one, nor a rank's child", async () => {
  const { supervisor, folder, heard } = startSupervisor({ 0: 'orphan', 1: 'blocked' });
  await heard('step 2');
  await appears(join(folder, 'child-0'));
  await appears(join(folder, 'blocked-1'));
  supervisor.kill('SIGKILL');
  for (const name of ['pid-0', 'pid-1', 'child-0'])
    await assertGone(Number(readFileSync(join(folder, name), 'utf8')));
});

for (const [signal, exitCode] of [
  ['SIGTERM', 143],
  ['SIGINT', 130],
  ['SIGHUP', 143],
] as const) {
  test(`${signal} lets every rank save, and the exit code says so`, async () => {
    const { supervisor, folder, heard, ended } = startSupervisor({
      0: 'train-for-ever',
      1: 'train-for-ever',
    });
    await heard('step 4');
    supervisor.kill(signal);
    assert.equal(await ended, exitCode);
    for (const rank of [0, 1]) assert.equal(readFileSync(join(folder, `saved-${rank}`), 'utf8'), 'yes');
  });
}

test('a second Ctrl-C leaves now; its echo within a moment does not count', async () => {
  const { supervisor, folder, heard, ended } = startSupervisor({ 0: 'blocked', 1: 'blocked' });
  await appears(join(folder, 'blocked-0'));
  await appears(join(folder, 'blocked-1'));
  supervisor.kill('SIGINT');
  supervisor.kill('SIGINT');
  await heard('stopping SIGINT');
  assert.equal(await Promise.race([ended, sleep(1000, 'still waiting')]), 'still waiting');
  const before = performance.now();
  supervisor.kill('SIGINT');
  assert.equal(await ended, 130);
  assert.ok(performance.now() - before < 2000);
  assertAllGone(folder, 2);
});

function startSupervisor(script: RankScript): {
  readonly supervisor: ChildProcessByStdio<null, Readable, null>;
  readonly folder: string;
  readonly heard: (line: string) => Promise<void>;
  readonly ended: Promise<number | null>;
} {
  const folder = newFolder();
  const supervisor = spawn(
    process.execPath,
    [program('launch-supervisor-program.js'), JSON.stringify(script)],
    {
      env: { ...process.env, [FOLDER_VARIABLE]: folder },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const lines: string[] = [];
  const reader = createInterface({ input: supervisor.stdout });
  reader.on('line', (line) => lines.push(line));
  const heard = async (line: string): Promise<void> => {
    while (!lines.includes(line)) await once(reader, 'line');
  };
  const ended = once(supervisor, 'exit').then(([code]) => code as number | null);
  return { supervisor, folder, heard, ended };
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-launch-'));
  folders.push(folder);
  return folder;
}

function program(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

function assertAllGone(folder: string, ranks: number): void {
  for (let rank = 0; rank < ranks; rank++) {
    const path = join(folder, `pid-${rank}`);
    if (existsSync(path))
      assert.ok(!isAlive(Number(readFileSync(path, 'utf8'))), `rank ${rank} is still there`);
  }
}

/** Ends only when the process is gone; the test runner's own deadline is the bound. */
async function assertGone(pid: number): Promise<void> {
  assert.ok(pid > 1);
  for (let wait = 0; isAlive(pid); wait++) {
    assert.ok(wait < 500, `process ${pid} is still there`);
    await sleep(10);
  }
}

async function appears(path: string): Promise<void> {
  for (let wait = 0; !existsSync(path); wait++) {
    assert.ok(wait < 2000, `${path} does not appear`);
    await sleep(10);
  }
}

/** A zombie that nobody has collected yet counts as gone. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

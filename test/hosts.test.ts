import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { TrainyardError } from '../src/base/errors.js';
import type { RankEvent } from '../src/launch/events.js';
import type { HostsOptions } from '../src/launch/hosts/supervise-hosts.js';
import { type RunObserver, supervise } from '../src/launch/supervisor.js';
import type { Verdict } from '../src/launch/verdict.js';
import { run } from './command-line.js';
import { FakeSsh } from './fake-ssh.js';
import { superviseTestHosts } from './hosts-launcher.js';
import { FOLDER_VARIABLE, type RankScript } from './launch-rank-script.js';

/** Two names of this machine. */
const TWO = { '127.0.0.1': 1, localhost: 1 };
const PATH = process.env.PATH;
const folders: string[] = [];
let folder = '';
let ssh = new FakeSsh(newFolder());

beforeEach(() => {
  folder = newFolder();
  ssh = new FakeSsh(newFolder());
  process.env.PATH = `${ssh.folder}:${PATH}`;
  process.env[FOLDER_VARIABLE] = folder;
});

after(() => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

interface Run {
  readonly verdict: Verdict;
  readonly events: readonly RankEvent[];
  readonly lines: readonly string[];
}

async function onHosts(
  hosts: Readonly<Record<string, number>>,
  script: RankScript,
  others: { readonly words?: readonly string[]; readonly onStep?: () => void } & Partial<HostsOptions> = {},
): Promise<Run> {
  const { words = [], onStep, ...options } = others;
  const events: RankEvent[] = [];
  const lines: string[] = [];
  const observer: RunObserver = {
    event: (event) => {
      events.push(event);
      if (event.event === 'step') onStep?.();
    },
    output: async (rank, texts) => void lines.push(...texts.map((line) => `${rank} ${line}`)),
    stopping: () => undefined,
    failing: () => undefined,
    stalled: () => undefined,
  };
  const verdict = await superviseTestHosts(hosts, [JSON.stringify(script), ...words], observer, options);
  for (const { pid } of ssh.calls()) assert.ok(!isAlive(pid), `the agent ${pid} is still there`);
  return { verdict, events, lines };
}

/** What a rank of `launch-rank-program` was told. */
function told(rank: number): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, `told-${rank}`), 'utf8')) as Record<string, unknown>;
}

test('ranks of two hosts train to the end; each knows its place, and all one secret that no word holds', async () => {
  const { verdict, events } = await onHosts({ '127.0.0.1': 2, localhost: 1 }, {});
  assert.deepEqual(verdict, { exitCode: 0, consequences: [] });
  assert.deepEqual(
    events.flatMap((event) => (event.event === 'step' ? [event.step] : [])),
    [1, 2, 3, 4, 5],
  );
  const places = [0, 1, 2].map((rank) => told(rank));
  const fields = [
    'rank',
    'worldSize',
    'localRank',
    'localWorldSize',
    'hostName',
    'masterAddress',
    'networkInterface',
  ];
  assert.deepEqual(
    places.map((place) => fields.map((name) => place[name])),
    [
      [0, 3, 0, 2, 'host 0', '127.0.0.1', 'lo'],
      [1, 3, 1, 2, 'host 0', '127.0.0.1', 'lo'],
      [2, 3, 0, 1, 'host 1', '127.0.0.1', 'lo'],
    ],
  );
  const [secret, ...others] = new Set(places.map(({ runId }) => String(runId)));
  assert.match(secret ?? '', /^[0-9a-f]{32}\/0$/);
  assert.equal(others.length, 0);
  assert.equal(new Set(places.map(({ masterPort }) => masterPort)).size, 1);
  assert.ok(!JSON.stringify(ssh.calls()).includes(secret?.slice(0, 32) ?? ''));
});

const CORPUS: readonly string[] = [
  ...['$(touch canary)', '`touch canary`', ';touch canary', '&& touch canary', '| touch canary', '> canary'],
  ...[
    '\ntouch canary\n',
    '-oProxyCommand=touch canary',
    '--',
    '"',
    "'",
    "'; touch canary; '",
    '"; touch canary; "',
  ],
  ...['\\', '\\\\', '*', '?', '~', '$HOME', '$IFS', '!!', '#', '%h', '', ' ', '\t', 'ü', '\u2028', '\u0001'],
  ...[
    '{a,b}',
    '[a]',
    '<(touch canary)',
    '=touch',
    '\r\n',
    '\u001b]0;x\u0007',
    '\ud83d\ude80',
    '-',
    '-x',
    '$0',
    '$@',
  ],
];

test('arguments, folder and variables arrive as they are; ssh gets the same few words whatever they are', async () => {
  const strange = join(folder, "a $(touch canary) 'b' `touch canary`");
  process.env.TRAINYARD_TEST_STRANGE = CORPUS.join('');
  mkdirSync(strange);
  const { verdict } = await onHosts(TWO, {}, { words: CORPUS, folder: strange });
  assert.equal(verdict.exitCode, 0, JSON.stringify(verdict.cause));
  for (const rank of [0, 1]) {
    assert.deepEqual(told(rank).arguments, CORPUS);
    assert.equal(told(rank).folder, strange);
    assert.equal(told(rank).strange, CORPUS.join(''));
  }
  const program = fileURLToPath(new URL('./hosts-agent-program.js', import.meta.url));
  const words = ssh.calls().map((call) => call.words);
  for (const [host] of Object.entries(TWO)) {
    const options = ['BatchMode=yes', 'ServerAliveInterval=10', 'ServerAliveCountMax=3'].flatMap((o) => [
      '-o',
      o,
    ]);
    const expected = [...options, '--', host, process.execPath, program];
    assert.ok(
      words.some((call) => JSON.stringify(call) === JSON.stringify(expected)),
      JSON.stringify(words),
    );
  }
  for (const place of [folder, strange, process.cwd()]) assert.ok(!existsSync(join(place, 'canary')));
});

test('a rank that dies is named with its host; one that does not leave is killed there, with its children', async () => {
  const { verdict } = await onHosts(TWO, { 0: 'orphan', 1: 'kill' });
  assert.equal(verdict.exitCode, 75);
  assert.match(verdict.cause?.report.what ?? '', /Rank 1 of 2 on localhost was killed by SIGKILL/);
  assert.equal(verdict.cause?.report.where, 'rank 1 on localhost, step 3, forward block.0 micro 0');
  assert.match(verdict.consequences.join(), /rank 0 on 127.0.0.1 did not leave when asked and was killed/);
  await assertGone(Number(readFileSync(join(folder, 'child-0'), 'utf8')));
});

test('a host that is lost is named, and its ranks do not live on', async () => {
  let isCut = false;
  const onStep = (): void => {
    if (isCut || !existsSync(join(folder, 'pid-1'))) return;
    isCut = true;
    const agent = ssh.calls().find(({ words }) => words.includes('localhost'));
    process.kill(agent?.pid ?? 0, 'SIGKILL');
  };
  const { verdict } = await onHosts(TWO, { 0: 'train-for-ever', 1: 'train-for-ever' }, { onStep });
  assert.equal(verdict.exitCode, 75);
  assert.equal(verdict.cause?.code, 'HOST_LOST');
  assert.match(verdict.cause?.report.what ?? '', /connection to the host localhost ended/);
  for (const rank of [0, 1]) await assertGone(Number(readFileSync(join(folder, `pid-${rank}`), 'utf8')));
});

for (const [hosts, options, code, pattern] of [
  [
    { '127.0.0.1': 1, 'down-1': 1 },
    {},
    'HOST_UNREACHABLE',
    /cannot reach the host down-1.*No route to host/s,
  ],
  [TWO, { agent: ['/nowhere/node'] }, 'HOST_UNFIT', /not where it is here on the host/],
  [TWO, { agent: ['/bin/false'] }, 'HOST_UNFIT', /exit code 1/],
  [TWO, { agent: ['a b'] }, 'USAGE', /cannot be told where/],
  [TWO, { version: '2.0.0' }, 'HOST_UNFIT', /another version.*2\.0\.0.*1\.0\.0/s],
  [TWO, { meeting: { address: '8.8.8.8', allowPublic: false } }, 'USAGE', /--insecure-network/],
] as const) {
  test(`no rank is started where ${code}: ${pattern.source}`, async () => {
    await assert.rejects(onHosts(hosts, {}, options), (error) => {
      assert.ok(error instanceof TrainyardError, String(error));
      assert.equal(error.code, code);
      assert.match(error.message, pattern);
      return true;
    });
    assert.ok(!existsSync(join(folder, 'pid-0')));
    for (const { pid } of ssh.calls()) await assertGone(pid);
  });
}

test('a folder that a host does not have is told', async () => {
  const { verdict } = await onHosts(TWO, {}, { folder: join(folder, 'nowhere') });
  assert.equal(verdict.exitCode, 2);
  assert.equal(verdict.cause?.code, 'HOST_UNFIT');
});

test('a launcher that is killed leaves nothing behind on any host', async () => {
  const program = fileURLToPath(new URL('./hosts-launcher-program.js', import.meta.url));
  const launcher = spawn(process.execPath, [program, JSON.stringify({ 0: 'orphan', 1: 'blocked' })], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: launcher.stdout })) if (line === 'step 2') break;
  for (const name of ['child-0', 'blocked-1']) while (!existsSync(join(folder, name))) await sleep(10);
  const gone = once(launcher, 'exit');
  launcher.kill('SIGKILL');
  await gone;
  for (const name of ['pid-0', 'pid-1', 'child-0'])
    await assertGone(Number(readFileSync(join(folder, name), 'utf8')));
  for (const { pid } of ssh.calls()) await assertGone(pid);
});

test('a supervisor of one host of several, as in a pod, names its ranks by their numbers among all', async () => {
  const program = fileURLToPath(new URL('./launch-rank-program.js', import.meta.url));
  writeFileSync(join(folder, 'here-0'), 'on another host');
  const meeting = { masterAddress: 'host-0', masterPort: 29_500, runId: 'secret', networkInterface: '' };
  const verdict = await supervise({
    command: { executable: process.execPath, arguments: [program, JSON.stringify({ 1: 'exit-3' })] },
    ranks: 1,
    variables: process.env,
    place: { host: 1, firstRank: 1, worldSize: 2, ...meeting },
    observer: {
      event: () => undefined,
      output: async () => undefined,
      stopping: () => undefined,
      failing: () => undefined,
      stalled: () => undefined,
    },
  });
  assert.match(verdict.cause?.report.what ?? '', /Rank 1 of 2 ended with exit code 3/);
  const { rank, localRank, hostName, masterAddress } = told(1);
  assert.deepEqual([rank, localRank, hostName, masterAddress], [1, 0, 'host 1', 'host-0']);
});

test('train --hostfile trains over two hosts', async () => {
  const config = join(folder, 'run.json');
  const text = join(folder, 'text.txt');
  writeFileSync(text, 'the quick brown fox jumps over the lazy dog. '.repeat(20));
  writeFileSync(join(folder, 'hosts'), '127.0.0.1 slots=1\nlocalhost slots=2 # one of them is enough\n');
  writeFileSync(config, JSON.stringify({ ...CONFIG, data: { ...CONFIG.data, path: text } }));
  const choice = ['--hostfile', join(folder, 'hosts'), '--exclude', 'localhost:1'];
  const { exitCode, stdout, stderr } = await run(['train', config, ...choice, '--json']);
  assert.equal(exitCode, 0, stderr);
  assert.match(stderr, /ranks on 2 hosts: 127\.0\.0\.1 \(1\), localhost \(1\); they meet at 127\.0\.0\.1:/);
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as RankEvent);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['start', 'step', 'step', 'end'],
  );
  const [start, , , end] = events;
  assert.ok(start?.event === 'start' && start.world_size === 2);
  assert.ok(end?.event === 'end' && end.peak_memory_bytes.length === 2);
});

const CONFIG = {
  model: {
    architecture: 'llama',
    vocab_size: 256,
    hidden_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
  },
  data: { path: 'text.txt', tokenizer: 'bytes', sequence_length: 16 },
  steps: 2,
  train_batch_size: 4,
  optimizer: { type: 'AdamW', params: { lr: 1e-2 } },
};

function newFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'trainyard-hosts-'));
  folders.push(path);
  return path;
}

/** Ends only when the process is gone; the test runner's own deadline is the bound. */
async function assertGone(pid: number): Promise<void> {
  assert.ok(pid > 1);
  for (let wait = 0; isAlive(pid); wait++) {
    assert.ok(wait < 1000, `process ${pid} is still there`);
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

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ErrorEvent, ProgressEvent, RestartEvent, StepEvent } from '../src/launch/events.js';
import { FAULT_VARIABLE, type Fault } from './faulty-rank.js';
import { memoryFolder } from './memory-folder.js';

const PROGRAM = fileURLToPath(new URL('../../bin/trainyard.js', import.meta.url));
const PRELOADED = pathToFileURL(join(import.meta.dirname, 'faulty-rank.js')).href;
const STEPS = 10;
const INTERVAL = 2;

let folder = '';
let config = '';
before(() => {
  folder = memoryFolder('trainyard-restarts-');
  const text = join(folder, 'text.txt');
  config = join(folder, 'config.json');
  writeFileSync(text, 'Two trains leave the yard, and one of them comes back. '.repeat(80));
  const size = { vocab_size: 256, n_embd: 16, n_layer: 1, n_head: 2, n_positions: 32 };
  const model = { architecture: 'gpt2', ...size, attn_pdrop: 0, embd_pdrop: 0, resid_pdrop: 0 };
  const data = { path: text, tokenizer: 'bytes', sequence_length: 16, pack: true };
  const checkpoint = { interval: INTERVAL, keep: 2 };
  const zero_optimization = { stage: 2 };
  writeFileSync(
    config,
    JSON.stringify({ model, data, checkpoint, zero_optimization, steps: STEPS, train_batch_size: 4 }),
  );
});
after(() => rmSync(folder, { recursive: true }));

interface TrainedRun {
  readonly exitCode: number;
  /** Of each step, as it was said last. */
  readonly losses: ReadonlyMap<number, number>;
  readonly restarts: readonly RestartEvent[];
  readonly failure: ErrorEvent | undefined;
  readonly people: string;
  /** From the moment at which a rank was lost to the first step after it. */
  readonly recoveryMs: number;
}

let runs = 0;

async function train(args: readonly string[], fault?: Omit<Fault, 'mark'>): Promise<TrainedRun> {
  runs += 1;
  const output = join(folder, `run-${runs}`);
  const whole: Fault | undefined = fault && { ...fault, mark: join(folder, `mark-${runs}`) };
  const child = spawn(
    process.execPath,
    ['--import', PRELOADED, PROGRAM, 'train', '--json', ...args, '--set', `output=${output}`, config],
    {
      env: { ...process.env, [FAULT_VARIABLE]: JSON.stringify(whole ?? null) },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const closed = once(child, 'close') as Promise<[number]>;
  let [people, recoveryMs, restartedAt] = ['', 0, Number.NaN];
  child.stderr.on('data', (text) => {
    people += text;
  });
  const events: (ProgressEvent | ErrorEvent)[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as ProgressEvent | ErrorEvent;
    events.push(event);
    if (event.event === 'restart') restartedAt = performance.now();
    if (event.event === 'step' && !Number.isNaN(restartedAt) && recoveryMs === 0) {
      recoveryMs = performance.now() - restartedAt;
    }
  }
  const [exitCode] = await closed;
  const steps = events.filter((event): event is StepEvent => event.event === 'step');
  return {
    exitCode,
    losses: new Map(steps.map(({ step, loss }) => [step, loss])),
    restarts: events.filter((event): event is RestartEvent => event.event === 'restart'),
    failure: events.find((event): event is ErrorEvent => event.event === 'error'),
    people,
    recoveryMs,
  };
}

test('a rank that is lost once costs no step before the newest checkpoint, and no bit of what follows', async (context) => {
  const whole = await train(['--ranks', '2']);
  assert.equal(whole.exitCode, 0, whole.people);
  const run = await train(['--ranks', '2'], { rank: 1, at: 6, how: 'killed', times: 'once' });
  assert.equal(run.exitCode, 0, run.people);
  const [restart, ...more] = run.restarts;
  assert.deepEqual(more, []);
  assert.ok(restart);
  assert.deepEqual([restart.attempt, restart.world_size, restart.lost_rank], [1, 2, 1]);
  assert.ok(restart.step >= 4 && restart.lost_step - restart.step <= INTERVAL);
  assert.match(restart.reason, /Rank 1 of 2 was killed by SIGKILL/);
  assert.deepEqual([...run.losses], [...whole.losses]);
  context.diagnostic(`from the restart to the next step: ${Math.round(run.recoveryMs)} ms`);
});

test('with copies in memory a lost rank costs no step, and no disk is needed', async (context) => {
  const set = ['--set', 'checkpoint.interval=100', '--set', 'checkpoint.replicate=true'];
  const whole = await train(['--ranks', '2']);
  const run = await train(['--ranks', '2', ...set], { rank: 0, at: 7, how: 'killed', times: 'once' });
  assert.equal(run.exitCode, 0, run.people);
  assert.deepEqual(
    run.restarts.map(({ step, lost_step }) => ({ step, lost_step })),
    [{ step: 6, lost_step: 7 }],
  );
  assert.deepEqual([...run.losses], [...whole.losses]);
  assert.deepEqual(
    readdirSync('/dev/shm').filter((name) => name.startsWith('trainyard-replica-')),
    [],
  );
  context.diagnostic(`from the restart to the next step: ${Math.round(run.recoveryMs)} ms`);
});

test('a rank that does not come back is done without, and the global batch stays', async () => {
  const whole = await train(['--ranks', '2']);
  const run = await train(['--ranks', '1:2'], { rank: 1, at: 'start', how: 'killed', times: 'always' });
  assert.equal(run.exitCode, 0, run.people);
  assert.deepEqual(
    run.restarts.map(({ attempt, world_size, lost_rank, lost_step }) => ({
      attempt,
      world_size,
      lost_rank,
      lost_step,
    })),
    [
      { attempt: 1, world_size: 2, lost_rank: 1, lost_step: 0 },
      { attempt: 2, world_size: 1, lost_rank: 1, lost_step: 0 },
    ],
  );
  assert.match(run.people, /the same global batch on 1 rank: train_batch_size=4, .*accumulation_steps=2/);
  assert.equal(run.losses.size, STEPS);
  for (const [step, loss] of run.losses) {
    assert.ok(Math.abs(loss / (whole.losses.get(step) ?? 0) - 1) < 1e-5, `step ${step}: ${loss}`);
  }
});

test('a rank that always dies in one step ends the run, and is named', async () => {
  const run = await train(['--ranks', '2'], { rank: 0, at: 7, how: 'killed', times: 'always' });
  assert.equal(run.exitCode, 75);
  assert.equal(run.restarts.length, 1);
  assert.match(run.people, /not started again: rank 0 was lost twice in step 7/);
});

test('a rank whose thread is stuck is named with its instruction; without restarts the run ends', async () => {
  const run = await train(['--max-restarts', '0', '--hang-timeout', '2'], {
    rank: 0,
    at: 3,
    how: 'hangs',
    times: 'always',
  });
  assert.equal(run.exitCode, 75);
  assert.equal(run.failure?.code, 'RANK_HUNG');
  assert.match(run.failure?.report.where ?? '', /rank 0, step 3, /);
  assert.match(run.failure?.report.what ?? '', /it has been at one instruction for/);
  assert.match(run.failure?.report.got ?? '', /its process runs .*the thread of its program is stuck/);
  assert.deepEqual(run.restarts, []);
});

test('a rank whose process is stopped is told from one that is stuck, and from those that wait for it', async () => {
  const run = await train(['--ranks', '2', '--max-restarts', '0', '--hang-timeout', '4'], {
    rank: 1,
    at: 3,
    how: 'stopped',
    times: 'always',
  });
  assert.equal(run.exitCode, 75);
  assert.equal(run.failure?.code, 'RANK_HUNG');
  assert.match(run.failure?.report.what ?? '', /^Rank 1 hangs: its process has not run for \d+ s/);
  assert.match(run.failure?.report.where ?? '', /rank 1, step 3, /);
});

test('what only the launcher of all ranks can do is refused under another one', () => {
  for (const args of [
    ['--ranks', '1:2'],
    ['--max-restarts', '2'],
  ]) {
    const variables = { RANK: '0', WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: '1' };
    const { status, stderr } = spawnSync(process.execPath, [PROGRAM, 'train', ...args, config], {
      env: { ...process.env, ...variables },
      encoding: 'utf8',
    });
    assert.equal(status, 2);
    assert.match(stderr, /cannot be started again from here/);
  }
});

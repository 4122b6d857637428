import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { PublicEvent, StepEvent } from '../src/launch/events.js';
import { run } from './command-line.js';
import type { StoppedRank } from './redundancy-stop-program.js';
import { runRanks } from './run-ranks.js';

const MAIN = fileURLToPath(new URL('../../bin/trainyard.js', import.meta.url));

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-replicas-'));
  writeFileSync(join(root, 'text.txt'), 'Two trains leave the yard, and each goes its own way. '.repeat(80));
});
after(() => rmSync(root, { recursive: true }));

function configOf(redundancy: object): Readonly<Record<string, unknown>> {
  return {
    model: {
      architecture: 'gpt2',
      vocab_size: 256,
      n_embd: 16,
      n_layer: 1,
      n_head: 2,
      n_positions: 32,
      resid_pdrop: 0.2,
    },
    data: { path: join(root, 'text.txt'), tokenizer: 'bytes', sequence_length: 16 },
    steps: 8,
    train_batch_size: 6,
    optimizer: { type: 'AdamW', params: { lr: 3e-3 } },
    redundancy,
  };
}

/** @param stops the step in which each rank is asked to stop, or null for never */
function stopped(
  redundancy: object,
  stops: readonly (number | null)[],
  output: string,
): Promise<readonly StoppedRank[]> {
  const config = { ...configOf(redundancy), output: join(root, output) };
  const overrides = Object.entries(config).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return runRanks<StoppedRank>('redundancy-stop-program.js', stops.length, [
    JSON.stringify(stops),
    ...overrides,
  ]);
}

test('replicas that are brought together stop together then, whoever was asked', async () => {
  const redundancy = { type: 'local', sync_every: 5 };
  for (const [index, stops] of [
    [null, 2, null],
    [4, null, null],
    [1, 3, 4],
  ].entries()) {
    const ranks = await stopped(redundancy, stops, `together-${index}`);
    assert.deepEqual(
      ranks.map(({ lastStep }) => lastStep),
      [5, 5, 5],
    );
    assert.equal(ranks[0]?.end?.stopped, true);
    assert.equal(ranks[0]?.end?.steps, 5);
  }
});

test('replicas that never meet stop alone, and all go as far as the farthest', async () => {
  const redundancy = { type: 'local', sync_every: 'never' };
  for (const [index, [stops, last]] of (
    [
      // Who is asked during a step goes through the next one.
      [[2, 4, 3], 5],
      [[null, 3, null], 8],
      [[1, 1, 1], 2],
    ] as const
  ).entries()) {
    const ranks = await stopped(redundancy, stops, `alone-${index}`);
    assert.deepEqual(
      ranks.map(({ lastStep }) => lastStep),
      [last, last, last],
    );
    assert.equal(ranks[0]?.end?.stopped === true, last < 8);
  }
});

for (const sync_every of [4, 'never'] as const) {
  test(`SIGTERM ends a run of replicas with a checkpoint that --resume goes on from: sync_every ${sync_every}`, async () => {
    const write = (name: string): string => {
      const path = join(root, `${name}-${sync_every}.json`);
      const config = {
        ...configOf({ type: 'local', sync_every }),
        output: join(root, `${name}-${sync_every}`),
      };
      writeFileSync(path, JSON.stringify(config));
      return path;
    };
    const config = write('stopped');
    const args = ['train', config, '--ranks', '2', '--json'];
    const child = spawn(process.execPath, [MAIN, ...args, '--set', 'steps=1000000']);
    let [stdout, isAsked] = ['', false];
    child.stderr.resume();
    child.stdout.on('data', (bytes) => {
      stdout += bytes;
      if (!isAsked && stdout.includes('"step":3,')) isAsked = child.kill('SIGTERM');
    });
    const [exitCode] = (await once(child, 'close')) as [number | null];
    assert.equal(exitCode, 143);
    const before = stepsIn(stdout);
    if (sync_every !== 'never') assert.equal(before.length % sync_every, 0);
    const upTo = ['--set', `steps=${before.length + 6}`];
    const resumed = await run([...args, ...upTo, '--resume']);
    assert.equal(resumed.exitCode, 0, resumed.stderr);
    const whole = await run(['train', write('whole'), '--ranks', '2', '--json', ...upTo]);
    assert.equal(whole.exitCode, 0, whole.stderr);
    assert.deepEqual([...before, ...stepsIn(resumed.stdout)], stepsIn(whole.stdout));
  });
}

/** What must be equal for two runs to be the same, by step. */
function stepsIn(stdout: string): readonly string[] {
  const events = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as PublicEvent);
  const steps = events.filter((event): event is StepEvent => event.event === 'step');
  return steps.map(({ step, loss, grad_norm, drift_max }) => [step, loss, grad_norm, drift_max].join());
}

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { initialize, TrainyardError, type UserConfig } from '../src/index.js';
import { ODD_MODEL } from './odd-model.js';

const PROGRAM = join(import.meta.dirname, 'offload-faults-program.js');
const STEPS = 9;

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-offload-faults-'));
});
after(() => rmSync(root, { recursive: true }));

function configOf(disk: string): UserConfig {
  const files = { device: 'nvme', nvme_path: disk } as const;
  return {
    model: ODD_MODEL,
    train_batch_size: 4,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    zero_optimization: {
      stage: 3,
      stage3_param_persistence_threshold: 0,
      offload_optimizer: files,
      offload_param: files,
      sub_group_size: 2048,
    },
  };
}

/** Runs until its end, or until it has said a line, when `meanwhile` is called; returns the last line. */
async function trainUntil(
  disk: string,
  checkpoints: string | undefined,
  line?: string,
  meanwhile: (pid: number) => void = () => {},
): Promise<string> {
  const args = [
    JSON.stringify(configOf(disk)),
    `${STEPS}`,
    ...(checkpoints === undefined ? [] : [checkpoints]),
  ];
  const child = spawn(process.execPath, ['--enable-source-maps', PROGRAM, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
  const ended = once(child, 'exit');
  let last = '';
  for await (const said of createInterface({ input: child.stdout })) {
    last = said;
    if (said === line) meanwhile(child.pid ?? 0);
  }
  await ended;
  return last;
}

test('killed in the middle, and its folder deleted in the middle, a run ends with the same weights', async () => {
  const disk = join(root, 'nvme');
  mkdirSync(disk);
  const checkpoints = join(root, 'checkpoints');
  const whole = await trainUntil(disk, undefined);
  assert.match(whole, /^weights /);

  const killed = await trainUntil(disk, checkpoints, 'step 5', (pid) => process.kill(pid, 'SIGKILL'));
  assert.doesNotMatch(killed, /^weights /);
  assert.deepEqual(readdirSync(disk), [], 'nothing of a killed run is left');
  assert.equal(await trainUntil(disk, checkpoints), whole);

  const deleted = await trainUntil(disk, undefined, 'step 2', () => rmSync(disk, { recursive: true }));
  assert.equal(deleted, whole);
});

test('a folder that is missing, or may not be written, is an error before anything is trained', () => {
  const refuses = (disk: string): void =>
    assert.throws(
      () => initialize({ config: configOf(disk) }),
      (error) =>
        error instanceof TrainyardError && error.code === 'OFFLOAD_UNUSABLE' && error.message.includes(disk),
    );
  refuses(join(root, 'missing'));
  // Who may do everything may write there too.
  if (process.getuid?.() === 0) return;
  const locked = join(root, 'locked');
  mkdirSync(locked);
  chmodSync(locked, 0o500);
  refuses(locked);
});

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { PublicEvent, StepEvent } from '../src/launch/events.js';

const MAIN = fileURLToPath(new URL('../../bin/trainyard.js', import.meta.url));

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-resume-'));
  writeFileSync(join(root, 'text.txt'), 'Two trains leave the yard, and one of them comes back. '.repeat(80));
});
after(() => rmSync(root, { recursive: true }));

/** A model with dropout: the states of the random generators matter. */
const MODEL = {
  architecture: 'gpt2',
  vocab_size: 256,
  n_embd: 16,
  n_layer: 2,
  n_head: 2,
  n_positions: 32,
  resid_pdrop: 0.2,
  embd_pdrop: 0.2,
  attn_pdrop: 0.2,
};

function writeConfig(output: string): string {
  const path = join(root, `${output}.json`);
  const config = {
    model: MODEL,
    data: {
      path: join(root, 'text.txt'),
      tokenizer: 'bytes',
      sequence_length: 16,
      shuffle: true,
      pack: true,
    },
    steps: 10,
    seed: 5,
    output: join(root, output),
    train_batch_size: 4,
    optimizer: { type: 'AdamW', params: { lr: 3e-3 } },
    scheduler: { type: 'WarmupCosineLR', params: { total_num_steps: 100, warmup_num_steps: 3 } },
    gradient_clipping: 1.0,
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

interface Run {
  readonly exitCode: number | null;
  readonly stderr: string;
  /** What must be equal for two runs to be the same, by step. */
  readonly steps: ReadonlyMap<number, string>;
}

function stepsIn(stdout: string): ReadonlyMap<number, string> {
  const events = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as PublicEvent);
  const steps = events.filter((event): event is StepEvent => event.event === 'step');
  return new Map(
    steps.map(({ step, loss, grad_norm, learning_rate }) => [step, [loss, grad_norm, learning_rate].join()]),
  );
}

function train(config: string, args: readonly string[]): Run {
  const result = spawnSync(process.execPath, [MAIN, 'train', config, '--json', ...args], {
    encoding: 'utf8',
  });
  return { exitCode: result.status, stderr: result.stderr, steps: stepsIn(result.stdout) };
}

/** Trains until step `last` is reported, then asks to stop as Ctrl-C does. */
async function trainAndStop(config: string, args: readonly string[], last: number): Promise<Run> {
  const child = spawn(process.execPath, [MAIN, 'train', config, '--json', ...args]);
  let [stdout, stderr, asked] = ['', '', false];
  child.stderr.on('data', (bytes) => {
    stderr += bytes;
  });
  child.stdout.on('data', (bytes) => {
    stdout += bytes;
    // Once: twice would mean "leave now".
    if (!asked && stdout.includes(`"step":${last},`)) asked = child.kill('SIGINT');
  });
  const [exitCode] = (await once(child, 'close')) as [number | null];
  return { exitCode, stderr, steps: stepsIn(stdout) };
}

for (const ranks of ['1', '2']) {
  test(`a run of ${ranks} that is stopped and resumed is the run that was not, to the last bit`, async () => {
    const config = writeConfig(`stopped-${ranks}`);
    // Far more steps than will be done: the stop must come before the end, on any machine.
    const stopped = await trainAndStop(config, ['--set', 'steps=1000000', '--ranks', ranks], 3);
    assert.equal(stopped.exitCode, 130, stopped.stderr);
    const last = Math.max(...stopped.steps.keys()) + 5;
    const upTo = ['--set', `steps=${last}`, '--ranks', ranks];
    const resumed = train(config, [...upTo, '--resume']);
    assert.equal(resumed.exitCode, 0, resumed.stderr);
    const whole = train(writeConfig(`whole-${ranks}`), upTo);
    assert.equal(whole.exitCode, 0, whole.stderr);
    assert.equal(resumed.steps.size, 5);
    assert.deepEqual(new Map([...stopped.steps, ...resumed.steps]), whole.steps);
    const weights = (run: string): Buffer => readFileSync(join(root, `${run}-${ranks}`, 'model.safetensors'));
    assert.deepEqual(weights('stopped'), weights('whole'));
  });
}

test('a finished run goes on when it is given more steps, and only then', () => {
  const config = writeConfig('finished');
  const finished = train(config, ['--set', 'steps=3']);
  assert.equal(finished.exitCode, 0, finished.stderr);
  const again = train(config, ['--resume', '--set', 'steps=3']);
  assert.equal(again.exitCode, 2, again.stderr);
  assert.match(again.stderr, /CONFIG_CONFLICT: The run is already finished: .+ step 3\./);
  const further = train(config, ['--resume', '--set', 'steps=5']);
  assert.equal(further.exitCode, 0, further.stderr);
  const whole = train(writeConfig('whole'), ['--set', 'steps=5']);
  assert.deepEqual([...further.steps.keys()], [4, 5]);
  assert.deepEqual(new Map([...finished.steps, ...further.steps]), whole.steps);
});

test('a checkpoint of another run, or a damaged one, is refused in one message', async () => {
  const config = writeConfig('refused');
  const { exitCode, stderr } = await trainAndStop(config, ['--set', 'steps=1000000'], 2);
  assert.equal(exitCode, 130, stderr);
  const other = train(config, ['--resume', '--set', 'seed=6']);
  assert.equal(other.exitCode, 2, other.stderr);
  assert.match(other.stderr, /CONFIG_CONFLICT(.|\n)+seed 5(.|\n)+seed 6/);
  writeFileSync(
    join(root, 'other.txt'),
    'Another yard, another train, and nobody comes back at all. '.repeat(80),
  );
  const otherData = train(config, ['--resume', '--set', `data.path=${join(root, 'other.txt')}`]);
  assert.equal(otherData.exitCode, 2, otherData.stderr);
  assert.match(otherData.stderr, /CONFIG_CONFLICT(.|\n)+ at +data\.path\n/);
  const fewer = train(config, ['--resume', '--set', 'steps=1']);
  assert.equal(fewer.exitCode, 2, fewer.stderr);
  assert.match(fewer.stderr, /CONFIG_CONFLICT.+beyond the end(.|\n)+ at +steps \(--set steps=1\)/);
  const checkpoints = join(root, 'refused', 'checkpoints');
  const [tag = ''] = readdirSync(checkpoints).filter((name) => name.startsWith('step-'));
  const part = join(checkpoints, tag, 'part-00000.safetensors');
  const content = readFileSync(part);
  content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
  writeFileSync(part, content);
  const damaged = train(config, ['--resume']);
  assert.equal(damaged.exitCode, 2);
  assert.match(damaged.stderr, /CHECKPOINT_INVALID(.|\n)+is not what was saved/);
  assert.doesNotMatch(damaged.stderr, /^ {4}at /m);
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { freePort } from '../src/launch/free-port.js';
import { run } from './command-line.js';
import { type Expected, readJson } from './models-harness.js';

const PROGRAM = join(import.meta.dirname, 'compression-program.js');
const MODELS = join(import.meta.dirname, '../../test/fixtures/models');

for (const worldSize of [2, 3]) {
  test(`compressed sums on ${worldSize} ranks: bounds, bits, bytes, what is not finite`, async () => {
    const port = await freePort('127.0.0.1');
    const ranks = Array.from({ length: worldSize }, (_, rank) => rank);
    await Promise.all(ranks.map((rank) => succeedAsRank(rank, worldSize, port)));
  });
}

async function succeedAsRank(rank: number, worldSize: number, port: number): Promise<void> {
  const args = ['--enable-source-maps', PROGRAM, ...[rank, worldSize, port].map(String)];
  const env = { ...process.env, OMP_NUM_THREADS: '1' };
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'], env });
  const [errors] = await Promise.all([text(child.stderr), once(child, 'close')]);
  assert.equal(child.exitCode, 0, `rank ${rank} of ${worldSize}: ${errors}`);
}

interface Step {
  readonly event: string;
  readonly loss: number;
  readonly grad_norm: number;
}

// Relative, over 20 steps: AdamW divides by the gradient's size, so that a rounding of one in 2^11 (fp16) or
// 2^8 (bf16) turns into a change of the update as large, and the losses follow.
const TOLERANCES = {
  fp16: 1e-3,
  'fp16-static': 1e-3,
  'fp16-dynamic': 1e-3,
  bf16: 1e-2,
} as const;

describe('20 steps on 2 ranks', { concurrency: 1 }, () => {
  for (const name of ['llama-gqa-tied', 'gpt2-relu']) {
    const folder = join(MODELS, name);
    const expected = readJson<Expected>(folder, 'expected.json');
    for (const [type, tolerance] of Object.entries(TOLERANCES)) {
      test(`${name}, ${type}: within ${tolerance} of the losses in fp32`, async () => {
        const steps = await trainedSteps(folder, expected, [`communication.compression=${type}`]);
        for (const [index, { loss }] of steps.entries()) {
          const wanted = expected.train.losses[index] ?? Number.NaN;
          const error = Math.abs(loss - wanted) / wanted;
          assert.ok(error <= tolerance, `step ${index + 1}: ${loss} for ${wanted}, off by ${error}`);
        }
      });
    }

    test(`${name}: "none" is a run without compression, to the last bit, and the others are not`, async () => {
      const plain = await trainedSteps(folder, expected, []);
      assert.deepEqual(await trainedSteps(folder, expected, ['communication.compression=none']), plain);
      assert.deepEqual(await trainedSteps(folder, expected, ['communication_data_type=fp32']), plain);
      const cast = await trainedSteps(folder, expected, ['communication_data_type=bf16']);
      assert.notDeepEqual(cast, plain);
      assert.deepEqual(await trainedSteps(folder, expected, ['communication.compression=bf16']), cast);
    });

    test(`${name}: bucket sizes and overlap change no bit of a compressed sum`, async () => {
      const compression = 'communication.compression=fp16';
      const usual = await trainedSteps(folder, expected, [compression]);
      const small = ['zero_optimization.reduce_bucket_size=500', 'zero_optimization.overlap_comm=false'];
      assert.deepEqual(await trainedSteps(folder, expected, [compression, ...small]), usual);
    });
  }
});

/** Loss and gradient norm of every step. */
async function trainedSteps(
  folder: string,
  { batch_size, train }: Expected,
  settings: readonly string[],
): Promise<readonly Pick<Step, 'loss' | 'grad_norm'>[]> {
  const { lr, betas, eps, weight_decay } = train;
  const set = [
    `model=${folder}`,
    `data.path=${join(folder, 'batches.jsonl')}`,
    `steps=${train.losses.length}`,
    `train_batch_size=${batch_size}`,
    `gradient_clipping=${train.clip}`,
    'optimizer.type=AdamW',
    `optimizer.params=${JSON.stringify({ lr, betas, eps, weight_decay })}`,
    ...settings,
  ].flatMap((setting) => ['--set', setting]);
  const config = join(MODELS, '../empty-config.json');
  const { exitCode, stdout, stderr } = await run(['train', config, '--ranks', '2', ...set, '--json']);
  assert.equal(exitCode, 0, stderr);
  const events = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Step);
  const steps = events.filter(({ event }) => event === 'step');
  assert.equal(steps.length, train.losses.length);
  return steps.map(({ loss, grad_norm }) => ({ loss, grad_norm }));
}

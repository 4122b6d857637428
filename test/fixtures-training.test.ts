import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { StepEvent } from '../src/launch/events.js';
import { run } from './command-line.js';
import { type Expected, readJson } from './models-harness.js';
import { near } from './near.js';
import { trainRanks } from './train-ranks.js';

// Each folder is a small model with what PyTorch and transformers made of it: see its README.
const MODELS = join(import.meta.dirname, '../../test/fixtures/models');

const LOSS_TOLERANCE = 1e-4;
const LOGIT_TOLERANCE = 1e-4;
const NORM_TOLERANCE = 1e-4;

interface Inspection {
  readonly loss: number;
  readonly logits_norm: number;
  readonly logits_0_last: readonly number[];
  readonly grad_norms: Readonly<Record<string, number>>;
}

/** So manieth models are trained by processes of their own, as a person does it; others in ones that are there. */
const EVERY = 4;

describe('models with answers', { concurrency: 2 }, () => {
  for (const [index, name] of readdirSync(MODELS).entries()) {
    const folder = join(MODELS, name);
    if (!existsSync(join(folder, 'expected.json'))) continue;
    const expected = readJson<Expected>(folder, 'expected.json');

    const isByCommand = index % EVERY === 0;
    for (const ranks of [1, 2]) {
      if (ranks === 2 && !isByCommand) continue;
      test(`${name}: inspect on ${ranks}`, async () => {
        const stdout = await succeed(['inspect', ...flags(folder, expected, ranks), '--json']);
        const found = JSON.parse(stdout) as Inspection;
        near(found.loss, expected.loss, LOSS_TOLERANCE, 'loss');
        near(found.logits_norm, expected.logits_norm, LOGIT_TOLERANCE, 'norm of the logits');
        assert.equal(found.logits_0_last.length, expected.logits_0_last.length);
        for (const [token, logit] of expected.logits_0_last.entries()) {
          const got = found.logits_0_last[token] ?? Number.NaN;
          assert.ok(Math.abs(got - logit) <= LOGIT_TOLERANCE, `logit ${token}: ${got} for ${logit}`);
        }
        assert.deepEqual(Object.keys(found.grad_norms).sort(), Object.keys(expected.grad_norms).sort());
        for (const [parameter, norm] of Object.entries(expected.grad_norms)) {
          near(found.grad_norms[parameter], norm, NORM_TOLERANCE, `gradient norm of ${parameter}`);
        }
      });
    }
    for (const ranks of [1, 2]) {
      test(`${name}: 20 steps on ${ranks}`, async () => {
        const steps = isByCommand
          ? await commandedSteps(folder, expected, ranks)
          : (await trainRanks(ranks, settingsOf(folder, expected))).steps;
        assert.equal(steps.length, expected.train.losses.length);
        for (const [index, step] of steps.entries()) {
          near(step.loss, expected.train.losses[index], LOSS_TOLERANCE, `loss of step ${index + 1}`);
          near(step.grad_norm, expected.train.grad_norms[index], NORM_TOLERANCE, `norm of step ${index + 1}`);
        }
      });
    }
  }
});

async function succeed(args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await run(args);
  assert.equal(exitCode, 0, stderr);
  return stdout;
}

async function commandedSteps(
  folder: string,
  expected: Expected,
  ranks: number,
): Promise<readonly StepEvent[]> {
  const stdout = await succeed(['train', ...flags(folder, expected, ranks), '--json']);
  const events = stdout.trim().split('\n');
  return events.map((line) => JSON.parse(line) as StepEvent).filter(({ event }) => event === 'step');
}

function settingsOf(folder: string, { batch_size, train }: Expected): Readonly<Record<string, unknown>> {
  return {
    model: folder,
    'data.path': join(folder, 'batches.jsonl'),
    steps: train.losses.length,
    train_batch_size: batch_size,
    gradient_clipping: train.clip,
    'optimizer.type': 'AdamW',
    'optimizer.params': JSON.stringify({
      lr: train.lr,
      betas: train.betas,
      eps: train.eps,
      weight_decay: train.weight_decay,
    }),
  };
}

function flags(folder: string, expected: Expected, ranks: number): readonly string[] {
  const set = Object.entries(settingsOf(folder, expected)).flatMap(([key, value]) => [
    '--set',
    `${key}=${value}`,
  ]);
  return [join(MODELS, '../empty-config.json'), '--ranks', String(ranks), ...set];
}

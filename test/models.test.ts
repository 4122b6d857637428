import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RawConfig } from '../src/models/config-fields.js';
import { modelFromConfig } from '../src/models/registry.js';
import { noGrad } from '../src/tensor/autograd.js';
import { zeros } from '../src/tensor/generated/functions.js';
import { manualSeed, randomState, setRandomState } from '../src/tensor/random.js';
import { liveTensors, scope } from '../src/tensor/tensor.js';
import { setThreads } from '../src/tensor/threads.js';
import {
  accumulate,
  buildHarness,
  type Expected,
  gradientNorms,
  gradientsOf,
  type Harness,
  loadHarness,
  readBatches,
  readJson,
  readWeights,
  runStep,
} from './models-harness.js';

// TRAINYARD_TEST_MODELS names another folder of such models.
const FIXTURES = join(import.meta.dirname, '../../test/fixtures/models');
const FOLDER = process.env.TRAINYARD_TEST_MODELS ?? FIXTURES;
const FOLDERS = readdirSync(FOLDER).filter((name) => statSync(join(FOLDER, name)).isDirectory());

function near(actual: number, expected: number, tolerance: number, what: string): void {
  const difference = Math.abs(actual - expected);
  assert.ok(difference <= tolerance, `${what}: ${actual}, expected ${expected} within ${tolerance}`);
}

// The models are so small that a second thread would only get in the way.
setThreads(1);

assert.ok(FOLDERS.length > 0, `models in ${FOLDER}`);
for (const name of FOLDERS) {
  const folder = join(FOLDER, name);
  const expected = readJson<Expected>(folder, 'expected.json');

  test(`${name}: loss, logits and gradients are those of transformers`, () => {
    const harness = loadHarness(folder);
    const [batch] = readBatches(folder, expected.batch_size, 1);
    assert.ok(batch);
    scope(() => {
      const { loss, logits } = runStep(harness, batch);
      assert.ok(logits);
      near(loss, expected.loss, 1e-4 * expected.loss, 'loss');
      near(logits.vectorNorm().item(), expected.logits_norm, 1e-4 * expected.logits_norm, 'logits norm');
      const last = logits.select(0, 0).select(0, -1).toFloat32Array();
      assert.equal(last.length, expected.logits_0_last.length);
      for (const [index, value] of expected.logits_0_last.entries()) {
        near(last[index] ?? Number.NaN, value, 1e-4, `logit ${index}`);
      }
      const norms = gradientNorms(harness);
      assert.deepEqual([...norms.keys()].sort(), Object.keys(expected.grad_norms).sort());
      for (const [parameter, norm] of Object.entries(expected.grad_norms)) {
        near(norms.get(parameter) ?? Number.NaN, norm, 1e-4 * norm + 1e-6, `gradient norm of ${parameter}`);
      }
    });
    harness.flat.dispose();
  });

  test(`${name}: twenty steps of AdamW go as in PyTorch`, () => {
    const harness = loadHarness(folder);
    const { train, batch_size: rows } = expected;
    const update = adamW(harness, train);
    for (const [step, batch] of readBatches(folder, rows, train.losses.length).entries()) {
      scope(() => {
        const { loss } = runStep(harness, batch, { wantLogits: false });
        const lossExpected = train.losses[step] ?? Number.NaN;
        const normExpected = train.grad_norms[step] ?? Number.NaN;
        near(loss, lossExpected, 1e-4 * lossExpected, `loss of step ${step}`);
        near(update(), normExpected, 1e-4 * normExpected, `gradient norm of step ${step}`);
      });
    }
    harness.flat.dispose();
  });
}

test('without labels the last block gives the logits alone, and no graph', () => {
  const folder = join(FOLDER, FOLDERS[0] ?? '');
  const harness = loadHarness(folder);
  const [batch] = readBatches(folder, 2, 1);
  assert.ok(batch);
  const { inputIds } = batch;
  const context = { batch: { inputIds }, lossScale: 1, training: false, wantLogits: true };
  noGrad(() =>
    scope(() => {
      let activations = {};
      for (const [index, block] of harness.model.blocks.entries()) {
        const parameters = harness.flat.blocks[index];
        assert.ok(parameters);
        activations = block.forward(parameters, activations, context);
      }
      assert.deepEqual(Object.keys(activations), ['logits']);
    }),
  );
  harness.flat.dispose();
});

for (const name of ['llama-biases', 'qwen3', 'gpt2-base-names']) {
  const folder = join(FIXTURES, name);

  test(`${name}: computes in bfloat16, near the answers of fp32`, () => {
    const expected = readJson<Expected>(folder, 'expected.json');
    const model = modelFromConfig(readJson<RawConfig>(folder, 'config.json'));
    const harness = buildHarness(model, readWeights(folder), { dtype: 'bfloat16' });
    const [batch] = readBatches(folder, expected.batch_size, 1);
    assert.ok(batch);
    scope(() => {
      const { loss } = runStep(harness, batch);
      near(loss, expected.loss, 0.02 * expected.loss, 'loss');
      const norm = gradientsOf(harness).to('float32').vectorNorm().item();
      const [expectedNorm = 0] = expected.train.grad_norms;
      near(norm, expectedNorm, 0.05 * expectedNorm, 'gradient norm');
    });
    harness.flat.dispose();
  });
}

for (const name of ['llama-biases', 'gpt2-base-names']) {
  const folder = join(FIXTURES, name);

  test(`${name}: the gradients of micro-batches add up`, () => {
    const harness = loadHarness(folder);
    const [first, second] = readBatches(folder, 2, 2);
    assert.ok(first && second);
    scope(() => {
      runStep(harness, first);
      const alone = gradientsOf(harness).clone();
      runStep(harness, second);
      const both = gradientsOf(harness).add(alone);
      runStep(harness, first);
      accumulate(harness, second);
      near(gradientsOf(harness).sub(both).vectorNorm().item(), 0, 1e-5, 'difference of the sums');
    });
    harness.flat.dispose();
  });

  test(`${name}: frozen parameters get no gradient, and the others the same as before`, () => {
    const expected = readJson<Expected>(folder, 'expected.json');
    const model = modelFromConfig(readJson<RawConfig>(folder, 'config.json'));
    const isFrozen = (parameter: string): boolean => /[.](wte|wpe|embed_tokens|0)[.]/.test(parameter);
    const harness = buildHarness(model, readWeights(folder), { isFrozen });
    const [batch] = readBatches(folder, expected.batch_size, 1);
    assert.ok(batch);
    scope(() => void runStep(harness, batch));
    const norms = scope(() => gradientNorms(harness));
    assert.deepEqual(
      [...norms.keys()].sort(),
      Object.keys(expected.grad_norms)
        .filter((parameter) => !isFrozen(parameter))
        .sort(),
    );
    for (const [parameter, norm] of norms) {
      near(norm, expected.grad_norms[parameter] ?? Number.NaN, 1e-4 * norm + 1e-6, parameter);
    }
    harness.flat.dispose();
  });
}

const DROPOUTS = [
  ['llama-gqa-tied', { attention_dropout: 0.3 }],
  ['gpt2-relu', { attn_pdrop: 0.3 }],
  ['gpt2-relu', { resid_pdrop: 0.3 }],
  ['gpt2-relu', { embd_pdrop: 0.3 }],
] as const;

for (const [name, fields] of DROPOUTS) {
  test(`${Object.keys(fields)[0]} is active in training only, and repeats with the generator's state`, () => {
    const folder = join(FIXTURES, name);
    const model = modelFromConfig({ ...readJson<RawConfig>(folder, 'config.json'), ...fields });
    const harness = buildHarness(model, readWeights(folder));
    const { loss: expected } = readJson<Expected>(folder, 'expected.json');
    const [batch] = readBatches(folder, 4, 1);
    assert.ok(batch);
    manualSeed(1);
    const state = randomState();
    const lossOf = (training: boolean): number => scope(() => runStep(harness, batch, { training }).loss);
    near(lossOf(false), expected, 1e-4 * expected, 'loss outside training');
    assert.deepEqual(randomState(), state, 'nothing random was drawn');
    const first = lossOf(true);
    assert.ok(Math.abs(first - expected) > 1e-3, `dropout changes the loss: ${first}`);
    assert.notEqual(lossOf(true), first);
    setRandomState(state);
    assert.equal(lossOf(true), first);
    harness.flat.dispose();
  });
}

test('steps leave no tensor behind', () => {
  const folder = join(FOLDER, FOLDERS[0] ?? '');
  const harness = loadHarness(folder);
  const [batch] = readBatches(folder, 2, 1);
  assert.ok(batch);
  scope(() => runStep(harness, batch));
  const before = liveTensors();
  for (let step = 0; step < 5; step += 1) scope(() => void runStep(harness, batch));
  assert.equal(liveTensors(), before);
  harness.flat.dispose();
});

/** AdamW over the flat buffers (arXiv 1711.05101), after clipping by the global norm; returns that norm. */
function adamW(harness: Harness, settings: Expected['train']): () => number {
  const { values } = harness.flat;
  const gradients = gradientsOf(harness);
  const [beta1, beta2] = settings.betas;
  const first = zeros(values.shape, { dtype: 'float32' });
  const second = zeros(values.shape, { dtype: 'float32' });
  let step = 0;
  return () =>
    noGrad(() => {
      step += 1;
      const norm = gradients.vectorNorm().item();
      gradients.mul_(Math.min(1, settings.clip / (norm + 1e-6)));
      first.mul_(beta1).add_(gradients.mul(1 - beta1));
      second.mul_(beta2).add_(gradients.mul(gradients).mul(1 - beta2));
      values.mul_(1 - settings.lr * settings.weight_decay);
      const deviation = second
        .div(1 - beta2 ** step)
        .sqrt()
        .add(settings.eps);
      const change = first.div(deviation).mul(settings.lr / (1 - beta1 ** step));
      values.sub_(change);
      return norm;
    });
}

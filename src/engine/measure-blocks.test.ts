import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { adaptModel, linearLayers, matchTargets } from '../models/lora/linear-layers.js';
import { modelFromConfig } from '../models/registry.js';
import type { Block } from '../nn/block.js';
import { BlockOfHalves } from '../nn/block-of-halves.js';
import { splitBlocks } from '../nn/split-blocks.js';
import type { BlockCosts } from '../step/block-meter.js';
import { randomState } from '../tensor/random.js';
import { liveTensors } from '../tensor/tensor.js';
import { extrapolateCosts } from './extrapolate-costs.js';
import { measureBlocks } from './measure-blocks.js';

const LLAMA = {
  model_type: 'llama',
  vocab_size: 200,
  hidden_size: 64,
  intermediate_size: 160,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
};

const GPT2 = { model_type: 'gpt2', vocab_size: 200, n_embd: 32, n_layer: 2, n_head: 4, n_positions: 256 };

const FLOAT = 4;

test('a decoder layer keeps what its kernels save, to the byte', () => {
  const [rows, length] = [3, 40];
  const [embedding, layer, other, , head] = measureBlocks(modelFromConfig(LLAMA), { rows, length });
  assert.ok(embedding && layer && other && head);
  const tokens = rows * length;
  const hidden = tokens * 64 * FLOAT;
  assert.equal(embedding.outputBytes, hidden);
  assert.equal(embedding.activationBytes, hidden, 'the token ids are those of the batch');
  assert.deepEqual({ ...other, forwardMs: 0 }, { ...layer, forwardMs: 0 });
  assert.equal(layer.outputBytes, hidden);
  // Per token: the output; both norms with the root of their mean square; queries, keys and values with what
  // attention adds to them and its log-sums; the stream after it; gate and up; their product.
  const perToken = 64 + 2 * (64 + 1) + (4 + 2 + 2) * 16 + 64 + 4 + 64 + 2 * 160 + 160;
  assert.equal(layer.activationBytes, tokens * perToken * FLOAT);
  assert.equal(head.outputBytes, FLOAT);
});

test('small micro-batches tell what a large one takes', () => {
  for (const config of [
    LLAMA,
    { ...LLAMA, attention_dropout: 0.1 },
    GPT2,
    { ...GPT2, resid_pdrop: 0.1, embd_pdrop: 0.1, attn_pdrop: 0.1 },
  ]) {
    const model = modelFromConfig(config);
    const shape = { rows: 5, length: 160 };
    const told = measureBlocks(model, shape, { mostWork: 0, inHalves: true });
    for (const [index, real] of measureBlocks(model, shape, { inHalves: true }).entries()) {
      const guess = told[index];
      assert.ok(guess);
      near(guess.outputBytes, real.outputBytes, 0);
      near(guess.activationBytes, real.activationBytes, 0.02);
      near(guess.deferredBytes ?? -1, real.deferredBytes ?? 0, 0);
      // Buffers of a bounded size weigh more in a small micro-batch, and the peak may lie elsewhere.
      near(totalOf(guess), totalOf(real), 0.1);
    }
  }
});

test('a decoder layer leaves the factors of its products to the second half of its backward, to the byte', () => {
  const [rows, length] = [3, 40];
  const measured = measureBlocks(modelFromConfig(LLAMA), { rows, length }, { inHalves: true });
  const [embedding, layer, other, , head] = measured;
  assert.ok(embedding && layer && other && head);
  // Per token: what queries, keys and values, the projection, gate and up, and down were given, and the gradients of
  // what they gave.
  const inputs = 64 + 64 + 64 + 160;
  const outputs = (4 + 2 + 2) * 16 + 64 + 2 * 160 + 64;
  assert.equal(layer.deferredBytes, rows * length * (inputs + outputs) * FLOAT);
  assert.equal(other.deferredBytes, layer.deferredBytes);
  assert.equal(head.deferredBytes, rows * length * (64 + 200) * FLOAT);
  assert.equal(embedding.deferredBytes, 0);
  const whole = measureBlocks(modelFromConfig(LLAMA), { rows, length });
  for (const [index, { activationBytes, outputBytes, workspace }] of whole.entries()) {
    const halves = measured[index];
    assert.ok(halves);
    assert.deepEqual([halves.activationBytes, halves.outputBytes], [activationBytes, outputBytes]);
    assert.equal(halves.workspace.backward, workspace.backward);
  }
});

test('measuring leaves no tensor and no other random numbers behind', () => {
  const model = modelFromConfig({ ...GPT2, resid_pdrop: 0.1 });
  measureBlocks(model, { rows: 1, length: 8 });
  const [tensors, random] = [liveTensors(), randomState()];
  measureBlocks(model, { rows: 2, length: 8 });
  assert.equal(liveTensors(), tensors);
  assert.deepEqual(randomState(), random);
});

test('extrapolation is exact for what is linear in rows and quadratic in length', () => {
  const coefficients = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 6, maxLength: 6 });
  fc.assert(
    fc.property(
      coefficients,
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 1, max: 2048 }),
      ([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0], rows, length) => {
        const bytes = (r: number, l: number) => a + b * l + c * l * l + r * (d + e * l + f * l * l);
        const samples = [1, 2].flatMap((r) =>
          [32, 64, 96].map((l) => ({ rows: r, length: l, costs: [costsOf(bytes(r, l))] })),
        );
        assert.deepEqual(extrapolateCosts(samples, { rows, length }), [costsOf(bytes(rows, length))]);
      },
    ),
  );
});

function costsOf(bytes: number): BlockCosts {
  return {
    activationBytes: bytes,
    outputBytes: bytes,
    workspace: {
      forward: bytes,
      drop: bytes,
      backward: bytes,
      backwardInput: bytes,
      backwardWeights: bytes,
    },
    deferredBytes: bytes,
    forwardMs: bytes,
  };
}

/** Everything that a block takes at its backward. */
function totalOf({ activationBytes, workspace }: BlockCosts): number {
  return activationBytes + workspace.backward;
}

function near(got: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(got - expected) <= tolerance * expected, `${got} for ${expected}`);
}

test('under an adapter, a layer that no gradient passes through keeps less than the others', () => {
  const model = modelFromConfig(LLAMA);
  const targets = matchTargets(linearLayers(model), ['v_proj']);
  const adapted = adaptModel(model, targets, { rank: 4, alpha: 4, dropout: 0 });
  const [embedding, first, second, third] = measureBlocks(adapted, { rows: 2, length: 24 });
  assert.ok(embedding && first && second && third);
  assert.deepEqual({ ...third, forwardMs: 0 }, { ...second, forwardMs: 0 });
  // Of its input and of the norm before the first adapter nothing is needed again.
  assert.ok(first.activationBytes < second.activationBytes);
  const [, whole] = measureBlocks(model, { rows: 2, length: 24 });
  assert.ok(whole && second.activationBytes < whole.activationBytes, 'inputs of frozen layers are not kept');
});

test('a layer keeps what its halves keep, and each half is of a kind with those of the other layers', () => {
  for (const config of [LLAMA, { ...GPT2, resid_pdrop: 0.1 }]) {
    const model = modelFromConfig(config);
    const shape = { rows: 3, length: 40 };
    const [, layer] = measureBlocks(model, shape);
    const [, attention, mlp, nextAttention, nextMlp] = measureBlocks(splitBlocks(model), shape);
    assert.ok(layer && attention && mlp && nextAttention && nextMlp);
    assert.equal(attention.activationBytes + mlp.activationBytes, layer.activationBytes);
    assert.equal(attention.outputBytes, layer.outputBytes);
    assert.notEqual(mlp.activationBytes, attention.activationBytes);
    assert.deepEqual({ ...nextAttention, forwardMs: 0 }, { ...attention, forwardMs: 0 });
    assert.deepEqual({ ...nextMlp, forwardMs: 0 }, { ...mlp, forwardMs: 0 });
  }
});

test('blocks of halves with other code are of other kinds, however alike their parameters', () => {
  const [embedding, , head] = modelFromConfig({ ...LLAMA, num_hidden_layers: 1 }).blocks;
  assert.ok(embedding && head);
  const half = (name: string, keeps: number): Block => ({
    name,
    parameters: [],
    forward: (_, { hidden }) => {
      let output = hidden;
      for (let index = 0; index < keeps; index += 1) output = output?.tanh();
      assert.ok(output);
      return { hidden: output };
    },
  });
  const layers = [1, 3].map((keeps) => new BlockOfHalves('', [half('first', keeps), half('second', keeps)]));
  const model = { ...modelFromConfig(LLAMA), blocks: [embedding, ...layers, head] };
  const [, few, many] = measureBlocks(model, { rows: 2, length: 16 });
  assert.ok(few && many && few.activationBytes < many.activationBytes);
});

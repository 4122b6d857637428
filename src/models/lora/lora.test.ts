import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../../base/errors.js';
import { modelFromConfig } from '../registry.js';
import { adaptModel, linearLayers, matchTargets, targetsNaming } from './linear-layers.js';
import { peftConfigOf, readPeftConfig } from './peft-config.js';

const LLAMA = modelFromConfig({
  model_type: 'llama',
  vocab_size: 20,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 2,
});
const GPT2 = modelFromConfig({
  model_type: 'gpt2',
  vocab_size: 20,
  n_embd: 8,
  n_layer: 2,
  n_head: 2,
  n_positions: 9,
});

const names = (model: typeof LLAMA, targets: 'all-linear' | readonly string[]) =>
  matchTargets(linearLayers(model), targets).map(({ module }) => module);

test('targets match whole parts at the end of a name, as in PEFT', () => {
  assert.deepEqual(names(LLAMA, ['q_proj']), [
    'model.layers.0.self_attn.q_proj',
    'model.layers.1.self_attn.q_proj',
  ]);
  assert.deepEqual(names(LLAMA, ['1.mlp.up_proj']), ['model.layers.1.mlp.up_proj']);
  assert.deepEqual(names(GPT2, ['mlp.c_proj']), ['transformer.h.0.mlp.c_proj', 'transformer.h.1.mlp.c_proj']);
  assert.equal(names(GPT2, ['c_proj']).length, 4);
  assert.throws(() => names(LLAMA, ['_proj']), /"_proj"/);
});

test('all-linear is every linear layer but the head', () => {
  assert.equal(names(LLAMA, 'all-linear').length, 2 * 7);
  assert.equal(names(GPT2, 'all-linear').length, 2 * 4);
  for (const model of [LLAMA, GPT2])
    assert.ok(!names(model, 'all-linear').some((name) => /lm_head|emb|wte/.test(name)));
});

test('the names that are saved name the same layers and no others', () => {
  const layers = linearLayers(GPT2);
  for (const targets of [['c_attn'], ['mlp.c_proj'], ['c_proj', 'c_fc'], ['h.1.attn.c_proj', 'c_attn']]) {
    const chosen = matchTargets(layers, targets);
    assert.deepEqual(matchTargets(layers, targetsNaming(layers, chosen)), chosen, targets.join());
  }
  assert.deepEqual(targetsNaming(layers, matchTargets(layers, ['attn.c_attn'])), ['c_attn']);
});

test('an adapted model trains the matrices alone, in PEFT’s names and shapes', () => {
  const chosen = matchTargets(linearLayers(GPT2), ['c_attn']);
  const { blocks } = adaptModel(GPT2, chosen, { rank: 3, alpha: 6, dropout: 0 });
  const trained = blocks.flatMap(({ name, parameters }) =>
    parameters.filter(({ frozen }) => frozen !== true).map((each) => [`${name}.${each.name}`, each.shape]),
  );
  assert.deepEqual(trained, [
    ['transformer.h.0.attn.c_attn.lora_A.weight', [3, 8]],
    ['transformer.h.0.attn.c_attn.lora_B.weight', [24, 3]],
    ['transformer.h.1.attn.c_attn.lora_A.weight', [3, 8]],
    ['transformer.h.1.attn.c_attn.lora_B.weight', [24, 3]],
  ]);
  const initializers = blocks[1]?.parameters.slice(-2).map(({ initializer }) => initializer);
  assert.deepEqual(initializers, [
    { kind: 'uniform', bound: 1 / Math.sqrt(8) },
    { kind: 'constant', value: 0 },
  ]);
});

const GOOD = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj'] };

test('a PEFT configuration is read, and what is written is read back', () => {
  const options = { rank: 4, alpha: 8, dropout: 0 };
  assert.deepEqual(readPeftConfig(GOOD, 'x'), options);
  const written = peftConfigOf({ options, targets: ['q_proj'], base: null, isTransposed: false });
  assert.deepEqual(readPeftConfig(written, 'x'), options);
  const inert = {
    task_type: 'CAUSAL_LM',
    fan_in_fan_out: true,
    use_dora: false,
    alpha_pattern: {},
    revision: null,
  };
  assert.deepEqual(readPeftConfig({ ...GOOD, ...inert, lora_dropout: 0.25 }, 'x'), {
    ...options,
    dropout: 0.25,
  });
});

test('a field that changes what an adapter computes is refused by name, known or not', () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ['peft_type', 'IA3'],
    ['bias', 'all'],
    ['use_dora', true],
    ['use_rslora', true],
    ['rank_pattern', { q_proj: 8 }],
    ['alpha_pattern', { q_proj: 8 }],
    ['modules_to_save', ['lm_head']],
    ['init_lora_weights', 'pissa'],
    ['layer_replication', [[0, 2]]],
    ['something_new', 1],
  ];
  for (const [field, value] of cases) {
    assert.throws(
      () => readPeftConfig({ ...GOOD, [field]: value }, 'adapter_config.json'),
      (error) =>
        error instanceof TrainyardError &&
        error.code === 'MODEL_UNSUPPORTED' &&
        error.message.includes(field),
      field,
    );
  }
  for (const field of ['r', 'lora_alpha']) {
    for (const value of [undefined, 0, 'four', null]) {
      assert.throws(
        () => readPeftConfig({ ...GOOD, [field]: value }, 'x'),
        /lacks a field/,
        `${field} ${value}`,
      );
    }
  }
});

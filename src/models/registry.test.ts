import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import type { RawConfig } from './config-fields.js';
import { configToSave, isDerivedWeight, modelFromConfig, storedNames } from './registry.js';

const tiny: RawConfig = {
  architecture: 'llama',
  vocab_size: 100,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
};
const tinyGpt2: RawConfig = { architecture: 'gpt2', vocab_size: 100, n_embd: 32, n_layer: 2, n_head: 4 };

/** Full name → shape of every parameter. */
function shapesOf(raw: RawConfig): ReadonlyMap<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const block of modelFromConfig(raw).blocks) {
    for (const { name, shape } of block.parameters) {
      shapes.set(block.name === '' ? name : `${block.name}.${name}`, shape);
    }
  }
  return shapes;
}

function refused(raw: RawConfig, code: string, ...words: readonly string[]): void {
  assert.throws(
    () => modelFromConfig(raw, 'config.json'),
    (error) => {
      assert.ok(error instanceof TrainyardError, `${error}`);
      assert.equal(error.code, code);
      assert.equal(error.exitCode, 2);
      for (const word of words) assert.ok(error.message.includes(word), `"${word}" in:\n${error.message}`);
      return true;
    },
  );
}

test('a Llama is its embedding, its layers and its head, by Hugging Face names', () => {
  const model = modelFromConfig(tiny);
  assert.equal(model.architecture, 'llama');
  assert.equal(model.vocabularySize, 100);
  assert.equal(model.maximumLength, undefined);
  assert.equal(model.blocks.length, 4);
  assert.deepEqual([...shapesOf(tiny).keys()].slice(0, 11), [
    'model.embed_tokens.weight',
    'model.layers.0.input_layernorm.weight',
    'model.layers.0.self_attn.q_proj.weight',
    'model.layers.0.self_attn.k_proj.weight',
    'model.layers.0.self_attn.v_proj.weight',
    'model.layers.0.self_attn.o_proj.weight',
    'model.layers.0.post_attention_layernorm.weight',
    'model.layers.0.mlp.gate_proj.weight',
    'model.layers.0.mlp.up_proj.weight',
    'model.layers.0.mlp.down_proj.weight',
    'model.layers.1.input_layernorm.weight',
  ]);
  assert.deepEqual([...shapesOf(tiny).keys()].slice(-2), ['model.norm.weight', 'lm_head.weight']);
});

test('shapes follow heads, key-value heads and an explicit head size', () => {
  const shapes = shapesOf({ ...tiny, num_key_value_heads: 2, head_dim: 12 });
  assert.deepEqual(shapes.get('model.layers.1.self_attn.q_proj.weight'), [48, 32]);
  assert.deepEqual(shapes.get('model.layers.1.self_attn.k_proj.weight'), [24, 32]);
  assert.deepEqual(shapes.get('model.layers.1.self_attn.o_proj.weight'), [32, 48]);
});

test('biases and query-key norms are where each architecture has them', () => {
  const biases = (raw: RawConfig): string[] =>
    [...shapesOf(raw).keys()].filter((name) => name.startsWith('model.layers.0.') && name.endsWith('bias'));
  const short = { ...tiny, num_key_value_heads: 2 };
  assert.deepEqual(biases(short), []);
  assert.equal(biases({ ...short, attention_bias: true }).length, 4);
  assert.equal(biases({ ...short, attention_bias: true, mlp_bias: true }).length, 7);
  assert.deepEqual(
    biases({ ...short, architecture: 'qwen2' }),
    ['q', 'k', 'v'].map((each) => `model.layers.0.self_attn.${each}_proj.bias`),
  );
  assert.deepEqual(biases({ ...short, architecture: 'mistral' }), []);
  assert.deepEqual(
    shapesOf({ ...short, architecture: 'qwen3', head_dim: 16 }).get('model.layers.0.self_attn.q_norm.weight'),
    [16],
  );
});

test('a tied head names the embedding that owns its memory', () => {
  const ties = (raw: RawConfig): readonly (string | undefined)[] =>
    modelFromConfig(raw).blocks.flatMap((block) => block.parameters.map((each) => each.tiedTo));
  assert.ok(!ties(tiny).includes('model.embed_tokens.weight'));
  assert.ok(ties({ ...tiny, tie_word_embeddings: true }).includes('model.embed_tokens.weight'));
  assert.ok(ties(tinyGpt2).includes('transformer.wte.weight'), 'GPT-2 is tied unless it says otherwise');
  assert.ok(!ties({ ...tinyGpt2, tie_word_embeddings: false }).includes('transformer.wte.weight'));
});

test('GPT-2 stores matrices by input, and takes no more positions than it has', () => {
  const shapes = shapesOf({ ...tinyGpt2, n_inner: 80, n_positions: 17 });
  assert.deepEqual(shapes.get('transformer.h.1.attn.c_attn.weight'), [32, 96]);
  assert.deepEqual(shapes.get('transformer.h.1.mlp.c_fc.weight'), [32, 80]);
  assert.deepEqual(shapes.get('transformer.wpe.weight'), [17, 32]);
  assert.equal(modelFromConfig({ ...tinyGpt2, n_positions: 17 }).maximumLength, 17);
});

test("initialisation is each architecture's published rule", () => {
  const initializers = (raw: RawConfig) =>
    new Map(
      modelFromConfig(raw).blocks.flatMap((block) =>
        block.parameters.map((each) => [each.name, each.initializer]),
      ),
    );
  const llama = initializers({ ...tiny, initializer_range: 0.05, mlp_bias: true });
  assert.deepEqual(llama.get('self_attn.o_proj.weight'), { kind: 'normal', mean: 0, std: 0.05 });
  assert.deepEqual(llama.get('input_layernorm.weight'), { kind: 'constant', value: 1 });
  assert.deepEqual(llama.get('mlp.up_proj.bias'), { kind: 'constant', value: 0 });
  const padded = initializers({ ...tiny, pad_token_id: 9 }).get('embed_tokens.weight');
  assert.deepEqual(padded, { kind: 'normal', mean: 0, std: 0.02, zeroRow: 9 });
  const gpt2 = initializers(tinyGpt2);
  assert.deepEqual(gpt2.get('attn.c_proj.weight'), { kind: 'normal', mean: 0, std: 0.02 / Math.sqrt(4) });
  assert.deepEqual(gpt2.get('mlp.c_fc.weight'), { kind: 'normal', mean: 0, std: 0.02 });
});

test('the defaults of an architecture are those of transformers', () => {
  const shapes = shapesOf({ architecture: 'mistral', num_hidden_layers: 1 });
  assert.deepEqual(shapes.get('model.embed_tokens.weight'), [32_000, 4096]);
  assert.deepEqual(shapes.get('model.layers.0.self_attn.k_proj.weight'), [1024, 4096]);
  assert.deepEqual(shapes.get('model.layers.0.mlp.up_proj.weight'), [14_336, 4096]);
});

test('an unknown architecture, or two of them, is refused', () => {
  const known = 'one of llama, qwen2, qwen3, mistral, gpt2';
  refused({ ...tiny, architecture: 'lama' }, 'MODEL_UNSUPPORTED', '"lama"', known, 'Did you mean llama?');
  refused({ ...tiny, architecture: 7 }, 'CONFIG_INVALID', 'model_type');
  refused({ hidden_size: 32 }, 'CONFIG_INVALID', 'which architecture');
  refused({ ...tiny, model_type: 'gpt2' }, 'CONFIG_INVALID', 'two architectures');
  refused(
    { ...tiny, architectures: ['LlamaForSequenceClassification'] },
    'MODEL_UNSUPPORTED',
    'another task',
  );
});

test('a field that is not known is refused with the nearest name', () => {
  refused({ ...tiny, hiden_size: 3 }, 'MODEL_UNSUPPORTED', 'config.json: hiden_size', 'hidden_size');
  refused({ ...tiny, constructor: 1 }, 'MODEL_UNSUPPORTED', 'constructor');
  refused({ ...tinyGpt2, rms_norm_eps: 1e-5 }, 'MODEL_UNSUPPORTED', 'rms_norm_eps');
});

const UNSUPPORTED: readonly (readonly [RawConfig, string])[] = [
  [{ ...tiny, hidden_act: 'mish' }, 'hidden_act'],
  [{ ...tiny, rope_scaling: { rope_type: 'yarn', factor: 4 } }, 'rope_scaling'],
  [{ ...tiny, rope_scaling: { type: 'dynamic', factor: 4 } }, 'rope_scaling'],
  [{ ...tiny, rope_parameters: { rope_type: 'longrope' } }, 'rope_parameters'],
  [{ ...tiny, rope_parameters: { rope_type: 'linear', factor: 2, beta_fast: 3 } }, 'beta_fast'],
  [{ ...tiny, rope_parameters: { full_attention: { rope_theta: 1 } } }, 'full_attention'],
  [{ ...tiny, partial_rotary_factor: 0.5 }, 'partial_rotary_factor'],
  [{ ...tiny, rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.5 } }, 'partial_rotary_factor'],
  [{ ...tiny, quantization_config: { bits: 4 } }, 'quantization_config'],
  [{ ...tiny, sliding_window: 128 }, 'sliding_window'],
  [{ ...tiny, layer_types: ['full_attention', 'full_attention'] }, 'layer_types'],
  [{ ...tiny, is_encoder_decoder: true }, 'is_encoder_decoder'],
  [{ ...tiny, architecture: 'mistral', num_key_value_heads: 2, attention_bias: true }, 'attention_bias'],
  [{ ...tiny, architecture: 'qwen2', num_key_value_heads: 2, attention_bias: false }, 'attention_bias'],
  [{ ...tiny, architecture: 'qwen2', num_key_value_heads: 2, use_mrope: true }, 'use_mrope'],
  [
    {
      ...tiny,
      architecture: 'qwen3',
      num_key_value_heads: 2,
      layer_types: ['linear_attention', 'full_attention'],
    },
    'layer_types',
  ],
  [{ ...tinyGpt2, activation_function: 'quick_gelu' }, 'activation_function'],
  [{ ...tinyGpt2, add_cross_attention: true }, 'add_cross_attention'],
  [{ ...tinyGpt2, pruned_heads: { 0: [1] } }, 'pruned_heads'],
  [{ ...tinyGpt2, hidden_size: 64 }, 'hidden_size'],
];

for (const [raw, field] of UNSUPPORTED) {
  test(`what is not computed is refused by name: ${field} ${JSON.stringify(raw[field] ?? '')}`, () => {
    refused(raw, 'MODEL_UNSUPPORTED', field);
  });
}

const INVALID: readonly (readonly [RawConfig, string])[] = [
  [{ ...tiny, hidden_size: '32' }, 'hidden_size'],
  [{ ...tiny, hidden_size: 0 }, 'hidden_size'],
  [{ ...tiny, num_hidden_layers: 1.5 }, 'num_hidden_layers'],
  [{ ...tiny, num_key_value_heads: 3 }, 'num_key_value_heads'],
  [{ ...tiny, hidden_size: 30 }, 'hidden_size'],
  [{ ...tiny, head_dim: 7 }, 'head_dim'],
  [{ ...tiny, rms_norm_eps: -1 }, 'rms_norm_eps'],
  [{ ...tiny, attention_bias: 'yes' }, 'attention_bias'],
  [{ ...tiny, attention_dropout: 1 }, 'attention_dropout'],
  [{ ...tiny, pad_token_id: 100 }, 'pad_token_id'],
  [{ ...tiny, rope_theta: 0 }, 'rope_theta'],
  [{ ...tiny, rope_scaling: [2] }, 'rope_scaling'],
  [{ ...tiny, rope_scaling: { type: 'linear' } }, 'factor'],
  [
    { ...tiny, rope_parameters: { rope_type: 'llama3', factor: 8, low_freq_factor: 4, high_freq_factor: 4 } },
    'high_freq_factor',
  ],
  [{ ...tiny, architecture: 'qwen2' }, 'num_key_value_heads'],
  [
    { ...tiny, architecture: 'qwen3', num_key_value_heads: 2, layer_types: ['full_attention'] },
    'layer_types',
  ],
  [{ ...tinyGpt2, n_embd: 33 }, 'n_embd'],
  [{ ...tinyGpt2, resid_pdrop: -0.1 }, 'resid_pdrop'],
];

for (const [raw, field] of INVALID) {
  test(`a wrong value is refused by name: ${field} ${JSON.stringify(raw[field] ?? '')}`, () => {
    refused(raw, 'CONFIG_INVALID', field);
  });
}

test('fields that cannot change the result are accepted', () => {
  const harmless = { use_cache: false, torch_dtype: 'bfloat16', top_p: 0.9, transformers_version: '4.0.0' };
  const nulls = { quantization_config: null, sliding_window: null, rope_scaling: null, head_dim: null };
  assert.equal(modelFromConfig({ ...tiny, ...harmless, ...nulls }).blocks.length, 4);
  assert.equal(
    modelFromConfig({ ...tinyGpt2, n_embd: undefined, hidden_size: 32, n_ctx: 5 }).blocks.length,
    4,
  );
});

test('parameters are found in files that leave the prefix out', () => {
  const model = modelFromConfig(tinyGpt2);
  assert.deepEqual(storedNames(model, 'transformer.h.0.ln_1.weight'), [
    'transformer.h.0.ln_1.weight',
    'h.0.ln_1.weight',
  ]);
  assert.deepEqual(storedNames(model, 'lm_head.weight'), ['lm_head.weight']);
  assert.deepEqual(
    storedNames(model, 'transformer.wte.weight'),
    ['transformer.wte.weight', 'wte.weight', 'lm_head.weight'],
    'of tied parameters either may be stored',
  );
});

test('stored tensors that follow from the configuration are no parameters', () => {
  const gpt2 = modelFromConfig(tinyGpt2);
  const llama = modelFromConfig(tiny);
  assert.ok(isDerivedWeight(gpt2, 'h.0.attn.bias'));
  assert.ok(isDerivedWeight(gpt2, 'transformer.h.0.attn.masked_bias'));
  assert.ok(isDerivedWeight(gpt2, 'lm_head.weight'));
  assert.ok(!isDerivedWeight(gpt2, 'h.0.attn.c_attn.bias'));
  assert.ok(isDerivedWeight(llama, 'model.layers.0.self_attn.rotary_emb.inv_freq'));
  assert.ok(!isDerivedWeight(llama, 'lm_head.weight'));
  assert.ok(!isDerivedWeight(llama, 'model.layers.0.attn.bias'));
});

test('the saved configuration says who loads it, and makes the same model', () => {
  const saved = configToSave(modelFromConfig(tiny), 'bfloat16');
  assert.equal(saved.dtype, 'bfloat16');
  assert.equal(saved.torch_dtype, 'bfloat16');
  assert.equal(saved.model_type, 'llama');
  assert.deepEqual(saved.architectures, ['LlamaForCausalLM']);
  assert.equal(saved.architecture, undefined);
  assert.equal(modelFromConfig(saved).blocks.length, 4);
});

test('rotary settings are saved in both forms, whichever was read', () => {
  const linear = { rope_type: 'linear', factor: 2 };
  const both = { rope_parameters: { rope_theta: 50, ...linear }, rope_theta: 50, rope_scaling: linear };
  const rotaryOf = (raw: RawConfig) => {
    const { rope_parameters, rope_theta, rope_scaling } = configToSave(
      modelFromConfig({ ...tiny, ...raw }),
      'float32',
    );
    return { rope_parameters, rope_theta, rope_scaling };
  };
  assert.deepEqual(rotaryOf({ rope_theta: 50, rope_scaling: { type: 'linear', factor: 2 } }), both);
  assert.deepEqual(rotaryOf({ rope_parameters: { rope_theta: 50, ...linear } }), both);
  assert.deepEqual(rotaryOf({ rope_theta: 7, rope_scaling: null }), {
    rope_parameters: { rope_theta: 7, rope_type: 'default' },
    rope_theta: 7,
    rope_scaling: null,
  });
  assert.equal(rotaryOf({}).rope_theta, undefined, 'the default of every version');
  assert.equal(
    modelFromConfig(configToSave(modelFromConfig({ ...tiny, ...both }), 'float32')).blocks.length,
    4,
  );
});

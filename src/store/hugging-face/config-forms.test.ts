import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generationConfigOf, inBothForms } from './config-forms.js';

test('the type of the weights has both names', () => {
  assert.deepEqual(inBothForms({ dtype: 'bfloat16' }), { dtype: 'bfloat16', torch_dtype: 'bfloat16' });
  assert.deepEqual(inBothForms({ torch_dtype: 'float16' }), { dtype: 'float16', torch_dtype: 'float16' });
  assert.deepEqual(inBothForms({ model_type: 'gpt2' }), { model_type: 'gpt2' });
});

test('rotary settings of version 5 are given in the form of version 4 as well', () => {
  const plain = { rope_theta: 5e5, rope_type: 'default' };
  assert.deepEqual(inBothForms({ rope_parameters: plain }), {
    rope_parameters: plain,
    rope_theta: 5e5,
    rope_scaling: null,
  });
  const scaled = { rope_theta: 5e5, rope_type: 'linear', factor: 2, partial_rotary_factor: 0.5 };
  assert.deepEqual(inBothForms({ rope_parameters: scaled }), {
    rope_parameters: scaled,
    rope_theta: 5e5,
    partial_rotary_factor: 0.5,
    rope_scaling: { rope_type: 'linear', factor: 2 },
  });
});

test('rotary settings of version 4 are given in the form of version 5 as well', () => {
  assert.deepEqual(inBothForms({ rope_theta: 1e4 }), {
    rope_theta: 1e4,
    rope_scaling: null,
    rope_parameters: { rope_theta: 1e4, rope_type: 'default' },
  });
  const old = { rope_theta: 1e4, rope_scaling: { type: 'linear', factor: 2 } };
  assert.deepEqual(inBothForms(old), {
    ...old,
    rope_parameters: { rope_theta: 1e4, rope_type: 'linear', factor: 2 },
  });
});

test('where both forms are given and differ, the one that transformers takes wins', () => {
  const both = {
    rope_theta: 1e4,
    rope_scaling: { rope_type: 'linear', factor: 2 },
    rope_parameters: { rope_theta: 7, rope_type: 'default' },
  };
  assert.deepEqual(inBothForms(both).rope_parameters, { rope_theta: 1e4, rope_type: 'linear', factor: 2 });
});

test('settings per kind of layer have no form in version 4', () => {
  const nested = {
    rope_parameters: { full_attention: { rope_theta: 1 }, sliding_attention: { rope_theta: 2 } },
  };
  assert.deepEqual(inBothForms(nested), nested);
});

test('completing a completed configuration changes nothing', () => {
  const once = inBothForms({
    dtype: 'float32',
    rope_parameters: { rope_theta: 1e4, rope_type: 'linear', factor: 2 },
  });
  assert.deepEqual(inBothForms(once), once);
});

test('generation gets the tokens that the configuration names', () => {
  assert.deepEqual(
    generationConfigOf({ bos_token_id: 1, eos_token_id: [2, 3], pad_token_id: null, vocab_size: 9 }),
    {
      _from_model_config: true,
      bos_token_id: 1,
      eos_token_id: [2, 3],
    },
  );
});

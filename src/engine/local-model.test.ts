import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { modelFromConfig } from '../models/registry.js';
import type { Model } from '../nn/block.js';
import { loneAxis } from './group-axis.js';
import { localModel } from './local-model.js';

function model(query: number, keyValue: number): Model {
  return modelFromConfig({
    architecture: 'llama',
    vocab_size: 16,
    hidden_size: 24,
    intermediate_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: query,
    num_key_value_heads: keyValue,
    head_dim: 4,
  });
}

function local(source: Model, ranks: number, tensor = 1): Model {
  const axis = tensor === 1 ? undefined : loneAxis(tensor, false);
  const partition_config = { layer_specs: [], strict_mode: false };
  const form = { sequence_parallel_size: ranks, tensor_parallel: { partition_config } };
  return localModel({ model: source }, form, axis);
}

function refuses(source: Model, ranks: number, says: RegExp, tensor = 1): void {
  assert.throws(
    () => local(source, ranks, tensor),
    (error) =>
      error instanceof TrainyardError && error.code === 'CONFIG_CONFLICT' && says.test(error.message),
  );
}

test('ranks share sequences where each can have its heads', () => {
  for (const [query, keyValue, ranks] of [
    [6, 6, 3],
    [6, 2, 6],
    [4, 1, 4],
    [12, 6, 3],
  ] as const)
    local(model(query, keyValue), ranks);
  refuses(model(6, 6), 4, /6 heads of queries and 6 of keys and values/);
  refuses(model(6, 3), 2, /6 heads of queries and 3 of keys and values/);
});

test('of a model that is divided, a rank has fewer heads', () => {
  local(model(8, 4), 4, 2);
  refuses(model(8, 4), 8, /4 heads of queries and 2 of keys and values on a rank/, 2);
});

test('a model whose blocks know nothing of it is refused', () => {
  const { attentionHeads: _heads, ...rest } = model(4, 4);
  local(rest, 1);
  refuses(rest, 2, /attentionHeads/);
});

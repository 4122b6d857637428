import { COMMON_FIELDS } from '../common-fields.js';
import type { FieldTable } from '../config-fields.js';
import { harmless, only, used } from '../config-fields.js';
import { ROTARY_FIELDS } from '../rotary-options.js';

/** Where an architecture of the family differs from the others; the blocks know nothing of it. */
export interface LlamaVariant {
  /** Every field that a configuration may have, with its verdict. */
  readonly fields: FieldTable;
  /** Classes of transformers that a configuration may name. */
  readonly classes: readonly string[];
  /** Values of absent fields: the defaults of transformers' configuration class. */
  readonly defaults: {
    readonly vocab_size: number;
    readonly intermediate_size: number;
    readonly num_key_value_heads?: number;
    readonly head_dim?: number;
    readonly max_position_embeddings: number;
  };
  /** Biases of the attention: by the field `attention_bias`, on query, key and value always, or never. */
  readonly attentionBias: 'by-field' | 'query-key-value' | 'none';
  readonly queryKeyNorm: boolean;
  /** Sliding windows: none, the same in every layer, or chosen layer by layer. */
  readonly windows: 'none' | 'every-layer' | 'by-layer';
}

const FAMILY_FIELDS: FieldTable = {
  ...COMMON_FIELDS,
  ...ROTARY_FIELDS,
  ...used(
    'vocab_size',
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_key_value_heads',
    'head_dim',
    'hidden_act',
    'rms_norm_eps',
    'attention_dropout',
  ),
  ...harmless('it slices a product without changing it', 'pretraining_tp'),
  mlp_bias: only([false], 'this architecture has no such biases'),
  use_sliding_window: only([false], 'this architecture has no sliding window'),
  sliding_window: only([], 'this architecture has no sliding window'),
  layer_types: only([], 'this architecture has layers of one kind'),
};

const WINDOW_BY_LAYER = used('use_sliding_window', 'sliding_window', 'max_window_layers', 'layer_types');

/** The architectures of the family by their `model_type`; defaults as in transformers 5.18. */
export const LLAMA_VARIANTS = {
  llama: {
    fields: { ...FAMILY_FIELDS, ...used('attention_bias', 'mlp_bias') },
    classes: ['LlamaForCausalLM', 'LlamaModel'],
    defaults: { vocab_size: 32_000, intermediate_size: 11_008, max_position_embeddings: 2048 },
    attentionBias: 'by-field',
    queryKeyNorm: false,
    windows: 'none',
  },
  qwen2: {
    fields: {
      ...FAMILY_FIELDS,
      ...WINDOW_BY_LAYER,
      attention_bias: only([true], 'query, key and value always have biases here'),
    },
    classes: ['Qwen2ForCausalLM', 'Qwen2Model'],
    defaults: {
      vocab_size: 151_936,
      intermediate_size: 22_016,
      num_key_value_heads: 32,
      max_position_embeddings: 32_768,
    },
    attentionBias: 'query-key-value',
    queryKeyNorm: false,
    windows: 'by-layer',
  },
  qwen3: {
    fields: { ...FAMILY_FIELDS, ...WINDOW_BY_LAYER, ...used('attention_bias') },
    classes: ['Qwen3ForCausalLM', 'Qwen3Model'],
    defaults: {
      vocab_size: 151_936,
      intermediate_size: 22_016,
      num_key_value_heads: 32,
      head_dim: 128,
      max_position_embeddings: 32_768,
    },
    attentionBias: 'by-field',
    queryKeyNorm: true,
    windows: 'by-layer',
  },
  mistral: {
    fields: {
      ...FAMILY_FIELDS,
      ...used('sliding_window'),
      attention_bias: only([false], 'this architecture has no such biases'),
    },
    classes: ['MistralForCausalLM', 'MistralModel'],
    defaults: {
      vocab_size: 32_000,
      intermediate_size: 14_336,
      num_key_value_heads: 8,
      max_position_embeddings: 131_072,
    },
    attentionBias: 'none',
    queryKeyNorm: false,
    windows: 'every-layer',
  },
} as const satisfies Record<string, LlamaVariant>;

import type { Activation } from '../../nn/activation.js';
import { ACTIVATION_NAMES } from '../activation-names.js';
import { COMMON_FIELDS } from '../common-fields.js';
import type { FieldTable, RawConfig } from '../config-fields.js';
import { ConfigReader, harmless, only, used } from '../config-fields.js';

/** What a GPT-2 model computes, resolved from a configuration. */
export interface Gpt2Config {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly innerSize: number;
  readonly heads: number;
  readonly layers: number;
  /** Rows of the learned position table: the longest sequence. */
  readonly positions: number;
  readonly activation: Activation;
  readonly normEpsilon: number;
  readonly initializerRange: number;
  readonly tiedHead: boolean;
  /** The factor on query·key in a layer, counted from 0. */
  readonly attentionScale: (layer: number) => number;
  readonly dropout: {
    readonly embedding: number;
    readonly attention: number;
    readonly residual: number;
  };
}

/** Names that Hugging Face takes for each other (`attribute_map` of its GPT2Config): other name to GPT-2's own. */
const ALIASES = {
  hidden_size: 'n_embd',
  max_position_embeddings: 'n_positions',
  num_attention_heads: 'n_head',
  num_hidden_layers: 'n_layer',
} as const;

/** Every field a GPT-2 configuration may have, with its verdict. */
const GPT2_FIELDS: FieldTable = {
  ...COMMON_FIELDS,
  ...used(
    'vocab_size',
    'n_positions',
    'n_embd',
    'n_layer',
    'n_head',
    'n_inner',
    'activation_function',
    'resid_pdrop',
    'embd_pdrop',
    'attn_pdrop',
    'layer_norm_epsilon',
    'scale_attn_weights',
    'scale_attn_by_inverse_layer_idx',
  ),
  ...harmless('the embedding of this architecture trains every row', 'pad_token_id'),
  ...harmless('it is the older name of n_positions, which is stored beside it', 'n_ctx'),
  ...harmless('it changes the order of operations, not their result', 'reorder_and_upcast_attn'),
  ...harmless(
    'it belongs to heads for other tasks',
    'summary_type',
    'summary_use_proj',
    'summary_activation',
    'summary_proj_to_labels',
    'summary_first_dropout',
    'predict_special_tokens',
  ),
  ...Object.fromEntries(
    Object.entries(ALIASES).map(([alias, own]) => [alias, only([], `it is ${own} by another name`)]),
  ),
};

/** Classes of transformers that a GPT-2 configuration may name. */
export const GPT2_CLASSES = ['GPT2LMHeadModel', 'GPT2Model'] as const;

/**
 * Resolves a GPT-2 configuration; absent fields take the defaults of transformers' GPT2Config.
 *
 * Throws MODEL_UNSUPPORTED for what is not computed, CONFIG_INVALID for wrong values and shapes that cannot be.
 */
export function readGpt2Config(raw: RawConfig, where: string): Gpt2Config {
  const reader = new ConfigReader(withOwnNames(raw), GPT2_FIELDS, where, 'gpt2');
  const hiddenSize = reader.integer('n_embd', 768);
  const heads = reader.integer('n_head', 12);
  if (hiddenSize % heads !== 0) throw reader.invalid('n_embd', `a multiple of n_head, which is ${heads}`);
  const baseScale = reader.boolean('scale_attn_weights', true) ? (hiddenSize / heads) ** -0.5 : 1;
  const byLayer = reader.boolean('scale_attn_by_inverse_layer_idx', false);
  return {
    vocabularySize: reader.integer('vocab_size', 50_257),
    hiddenSize,
    innerSize: reader.integer('n_inner', 4 * hiddenSize),
    heads,
    layers: reader.integer('n_layer', 12),
    positions: reader.integer('n_positions', 1024),
    activation: reader.choice('activation_function', 'gelu_new', ACTIVATION_NAMES),
    normEpsilon: reader.positive('layer_norm_epsilon', 1e-5),
    initializerRange: reader.positive('initializer_range', 0.02),
    tiedHead: reader.boolean('tie_word_embeddings', true),
    attentionScale: (layer) => (byLayer ? baseScale / (layer + 1) : baseScale),
    dropout: {
      embedding: reader.probability('embd_pdrop', 0.1),
      attention: reader.probability('attn_pdrop', 0.1),
      residual: reader.probability('resid_pdrop', 0.1),
    },
  };
}

/** Puts GPT-2's own names in place of the aliases. An alias that disagrees stays, and its verdict refuses it. */
function withOwnNames(raw: RawConfig): RawConfig {
  const fields = new Map(Object.entries(raw));
  for (const [alias, own] of Object.entries(ALIASES)) {
    const value = fields.get(alias);
    if (value === undefined || (fields.get(own) ?? value) !== value) continue;
    fields.set(own, value);
    fields.delete(alias);
  }
  return Object.fromEntries(fields);
}

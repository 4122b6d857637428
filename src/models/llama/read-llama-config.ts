import { ACTIVATION_NAMES } from '../activation-names.js';
import type { RawConfig } from '../config-fields.js';
import { ConfigReader } from '../config-fields.js';
import { readPaddingIndex } from '../padding-index.js';
import { readRotaryOptions } from '../rotary-options.js';
import type { LlamaConfig } from './llama-config.js';
import type { LlamaVariant } from './llama-variants.js';

/**
 * Resolves a configuration of the Llama family against its variant's table.
 *
 * Throws MODEL_UNSUPPORTED for what is not computed, CONFIG_INVALID for wrong values and shapes that cannot be.
 */
export function readLlamaConfig(
  raw: RawConfig,
  architecture: string,
  variant: LlamaVariant,
  where: string,
): LlamaConfig {
  const reader = new ConfigReader(raw, variant.fields, where, architecture);
  const vocabularySize = reader.integer('vocab_size', variant.defaults.vocab_size);
  const paddingIndex = readPaddingIndex(reader, vocabularySize);
  const attentionBias = variant.attentionBias === 'by-field' && reader.boolean('attention_bias', false);
  const heads = readHeads(reader, variant);
  const maximumPositions = reader.integer(
    'max_position_embeddings',
    variant.defaults.max_position_embeddings,
  );
  return {
    architecture,
    vocabularySize,
    hiddenSize: reader.integer('hidden_size', 4096),
    intermediateSize: reader.integer('intermediate_size', variant.defaults.intermediate_size),
    ...heads,
    activation: reader.choice('hidden_act', 'silu', ACTIVATION_NAMES),
    normEpsilon: reader.positive('rms_norm_eps', 1e-6),
    initializerRange: reader.positive('initializer_range', 0.02),
    queryKeyValueBias: attentionBias || variant.attentionBias === 'query-key-value',
    outputBias: attentionBias,
    feedForwardBias: reader.boolean('mlp_bias', false),
    queryKeyNorm: variant.queryKeyNorm,
    tiedHead: reader.boolean('tie_word_embeddings', false),
    rotary: readRotaryOptions(reader, heads.headSize, maximumPositions),
    windows: readWindows(reader, variant),
    attentionDropout: reader.probability('attention_dropout', 0),
    ...(paddingIndex === undefined ? {} : { paddingIndex }),
  };
}

function readHeads(
  reader: ConfigReader,
  variant: LlamaVariant,
): Pick<LlamaConfig, 'queryHeads' | 'keyValueHeads' | 'headSize'> {
  const hiddenSize = reader.integer('hidden_size', 4096);
  const queryHeads = reader.integer('num_attention_heads', 32);
  const keyValueHeads = readKeyValueHeads(reader, variant, queryHeads);
  if (queryHeads % keyValueHeads !== 0) {
    throw reader.invalid(
      'num_key_value_heads',
      `a divisor of num_attention_heads, which is ${queryHeads} (absent, it is ${keyValueHeads})`,
    );
  }
  const explicit = reader.optionalInteger('head_dim') ?? variant.defaults.head_dim;
  if (explicit === undefined && hiddenSize % queryHeads !== 0) {
    throw reader.invalid('hidden_size', `a multiple of num_attention_heads, which is ${queryHeads}`);
  }
  const headSize = explicit ?? hiddenSize / queryHeads;
  if (headSize % 2 !== 0) {
    const name = explicit === undefined ? 'hidden_size' : 'head_dim';
    throw reader.invalid(name, `an even head size for the rotation; it makes ${headSize}`);
  }
  return { queryHeads, keyValueHeads, headSize };
}

/** An explicit null means as many as query heads, where an absent field takes the architecture's default. */
function readKeyValueHeads(reader: ConfigReader, variant: LlamaVariant, queryHeads: number): number {
  if (reader.isNull('num_key_value_heads')) return queryHeads;
  return reader.integer('num_key_value_heads', variant.defaults.num_key_value_heads ?? queryHeads);
}

function readWindows(reader: ConfigReader, variant: LlamaVariant): readonly (number | undefined)[] {
  const layers = reader.integer('num_hidden_layers', 32);
  switch (variant.windows) {
    case 'none':
      return Array.from({ length: layers }, () => undefined);
    case 'every-layer': {
      const window = reader.isNull('sliding_window') ? undefined : reader.integer('sliding_window', 4096);
      return Array.from({ length: layers }, () => window);
    }
    case 'by-layer':
      return readWindowsByLayer(reader, layers);
    default:
      return variant.windows satisfies never;
  }
}

/** Qwen's rule: layers from `max_window_layers` on slide, unless `layer_types` names each. */
function readWindowsByLayer(reader: ConfigReader, layers: number): readonly (number | undefined)[] {
  const slides = reader.boolean('use_sliding_window', false) && !reader.isNull('sliding_window');
  const window = slides ? reader.integer('sliding_window', 4096) : undefined;
  const firstSliding = reader.integer('max_window_layers', 28, 0);
  const types = reader.list('layer_types');
  if (types === undefined) {
    return Array.from({ length: layers }, (_, layer) => (layer >= firstSliding ? window : undefined));
  }
  if (types.length !== layers) {
    throw reader.invalid('layer_types', `${layers} names, one for each of num_hidden_layers`);
  }
  return types.map((type) => {
    if (type === 'full_attention') return undefined;
    if (type === 'sliding_attention' && window !== undefined) return window;
    throw reader.unsupported(
      'layer_types',
      'full_attention, or sliding_attention together with use_sliding_window and sliding_window',
    );
  });
}

import { attention } from '../../nn/attention.js';
import type { Activations, Block, BlockContext, BlockParameters } from '../../nn/block.js';
import { gatedActivation } from '../../nn/gated-activation.js';
import { linear } from '../../nn/linear.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import { forkRmsNorm, rmsNorm } from '../../nn/rms-norm.js';
import { rotaryAttention, rotate } from '../../nn/rotary.js';
import type { RotaryTable } from '../../nn/rotary-table.js';
import { splitHeads } from '../../nn/split-heads.js';
import type { Tensor } from '../../tensor/tensor.js';
import { bias, gain, projection } from '../declare.js';
import { hiddenOf } from '../hidden.js';
import type { LlamaConfig } from './llama-config.js';

// Declared side by side, these act as one matrix, and their products are one.
const QUERY_KEY_VALUE = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'] as const;
const GATE_UP = ['mlp.gate_proj', 'mlp.up_proj'] as const;

const weightOf = (name: string): string => `${name}.weight`;
const biasOf = (name: string): string => `${name}.bias`;

/**
 * One decoder layer of the Llama family: attention with rotary positions, then a gated feed-forward, each on
 * the normalised residual stream and added back to it (`LlamaDecoderLayer` in transformers).
 */
export class LlamaDecoderLayer implements Block {
  readonly name: string;
  readonly parameters: readonly ParameterDeclaration[];
  readonly joins = [QUERY_KEY_VALUE, GATE_UP].flatMap((names) => [names.map(weightOf), names.map(biasOf)]);
  readonly #config: LlamaConfig;
  readonly #rotary: RotaryTable;
  readonly #window: number | undefined;

  constructor(index: number, window: number | undefined, config: LlamaConfig, rotary: RotaryTable) {
    this.name = `model.layers.${index}`;
    this.parameters = declareLayer(config);
    this.#config = config;
    this.#rotary = rotary;
    this.#window = window;
  }

  forward(parameters: BlockParameters, input: Activations, context: BlockContext): Activations {
    const attended = this.#attend(parameters, hiddenOf(input), context);
    return { hidden: this.#feedForward(parameters, attended) };
  }

  #attend(parameters: BlockParameters, stream: Tensor, context: BlockContext): Tensor {
    const { normEpsilon, queryKeyValueBias, outputBias } = this.#config;
    const [residual, normed] = forkRmsNorm(stream, parameters.get('input_layernorm.weight'), normEpsilon);
    const projected = linear(normed, parameters.joined(QUERY_KEY_VALUE.map(weightOf)), {
      bias: queryKeyValueBias ? parameters.joined(QUERY_KEY_VALUE.map(biasOf)) : undefined,
    });
    return linear(this.#mix(parameters, projected, context), parameters.get('self_attn.o_proj.weight'), {
      bias: outputBias ? parameters.get('self_attn.o_proj.bias') : undefined,
      residual,
    });
  }

  /** Attention over the projected queries, keys and values: [rows, length, query heads · head size]. */
  #mix(parameters: BlockParameters, projected: Tensor, { training, cache }: BlockContext): Tensor {
    const { queryHeads, keyValueHeads, headSize, queryKeyNorm, normEpsilon, attentionDropout } = this.#config;
    const options = {
      scale: headSize ** -0.5,
      window: this.#window,
      dropout: training ? attentionDropout : 0,
    };
    const angles = this.#rotary.angles(cache?.length ?? 0, projected.shape[1] ?? 0, projected.device);
    if (!queryKeyNorm && cache === undefined) {
      return rotaryAttention(projected, angles, queryHeads, keyValueHeads, options);
    }
    const [query, key, value] = splitHeads(projected, queryHeads, keyValueHeads);
    const turned = (heads: Tensor, gain: string): Tensor =>
      rotate(queryKeyNorm ? rmsNorm(heads, parameters.get(gain), normEpsilon) : heads, angles);
    const own = [turned(key, 'self_attn.k_norm.weight'), value] as const;
    const [keys, values] = cache?.extend(this.name, ...own) ?? own;
    return attention(turned(query, 'self_attn.q_norm.weight'), keys, values, options);
  }

  #feedForward(parameters: BlockParameters, stream: Tensor): Tensor {
    const { normEpsilon, feedForwardBias, activation } = this.#config;
    const gain = parameters.get('post_attention_layernorm.weight');
    const [residual, normed] = forkRmsNorm(stream, gain, normEpsilon);
    const gateAndUp = linear(normed, parameters.joined(GATE_UP.map(weightOf)), {
      bias: feedForwardBias ? parameters.joined(GATE_UP.map(biasOf)) : undefined,
    });
    return linear(gatedActivation(gateAndUp, activation), parameters.get('mlp.down_proj.weight'), {
      bias: feedForwardBias ? parameters.get('mlp.down_proj.bias') : undefined,
      residual,
    });
  }
}

function declareLayer(config: LlamaConfig): readonly ParameterDeclaration[] {
  const { hiddenSize, intermediateSize, queryHeads, keyValueHeads, headSize, initializerRange: std } = config;
  const querySize = queryHeads * headSize;
  const sizes = [querySize, keyValueHeads * headSize, keyValueHeads * headSize];
  const biases = (names: readonly string[], size: (index: number) => number, present: boolean) =>
    present ? names.map((name, index) => bias(biasOf(name), size(index))) : [];
  const attentionSize = (index: number): number => sizes[index] ?? 0;
  return [
    gain('input_layernorm.weight', hiddenSize),
    ...QUERY_KEY_VALUE.map((name, index) =>
      projection(weightOf(name), [attentionSize(index), hiddenSize], std),
    ),
    ...biases(QUERY_KEY_VALUE, attentionSize, config.queryKeyValueBias),
    ...(config.queryKeyNorm
      ? [gain('self_attn.q_norm.weight', headSize), gain('self_attn.k_norm.weight', headSize)]
      : []),
    projection('self_attn.o_proj.weight', [hiddenSize, querySize], std),
    ...biases(['self_attn.o_proj'], () => hiddenSize, config.outputBias),
    gain('post_attention_layernorm.weight', hiddenSize),
    ...GATE_UP.map((name) => projection(weightOf(name), [intermediateSize, hiddenSize], std)),
    ...biases(GATE_UP, () => intermediateSize, config.feedForwardBias),
    projection('mlp.down_proj.weight', [hiddenSize, intermediateSize], std),
    ...biases(['mlp.down_proj'], () => hiddenSize, config.feedForwardBias),
  ];
}

import { attention } from '../../nn/attention.js';
import type { Activations, Block, BlockContext, BlockParameters } from '../../nn/block.js';
import { divideDeclarations } from '../../nn/divide.js';
import { type HeadCounts, headsOfRank } from '../../nn/head-counts.js';
import { linear } from '../../nn/linear.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import { forkRmsNorm, rmsNorm } from '../../nn/rms-norm.js';
import { rotaryAttention, rotate } from '../../nn/rotary.js';
import type { RotaryTable } from '../../nn/rotary-table.js';
import { sharedAttention } from '../../nn/shared-attention.js';
import { splitHeads } from '../../nn/split-heads.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import type { Tensor } from '../../tensor/tensor.js';
import { bias, biasOf, gain, projection, weightOf } from '../declare.js';
import { hiddenOf } from '../hidden.js';
import type { LlamaConfig } from './llama-config.js';
import { llamaPlacements } from './placements.js';

/** What a layer is made from. */
export interface DecoderLayerOptions {
  readonly config: LlamaConfig;
  readonly rotary: RotaryTable;
  /** How many positions, its own included, each position sees; undefined: all before it. */
  readonly window: number | undefined;
  /** Over which matrices are divided; undefined: they are whole. */
  readonly axis: TensorAxis | undefined;
}

// Declared side by side, these act as one matrix, and their products are one.
const QUERY_KEY_VALUE = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'] as const;
const WEIGHTS = QUERY_KEY_VALUE.map(weightOf);
const BIASES = QUERY_KEY_VALUE.map(biasOf);

/** The first half of a decoder layer: attention on the normalised residual stream, added back to it. */
export class LlamaAttentionHalf implements Block {
  readonly name: string;
  readonly parameters: readonly ParameterDeclaration[];
  readonly joins = [WEIGHTS, BIASES];
  readonly #config: LlamaConfig;
  readonly #rotary: RotaryTable;
  readonly #window: number | undefined;
  /** Heads of this rank. */
  readonly #heads: HeadCounts;

  /** @param parameterPrefix name of the layer */
  constructor(
    readonly parameterPrefix: string,
    { window, config, rotary, axis }: DecoderLayerOptions,
  ) {
    this.name = `${parameterPrefix}.attention`;
    this.parameters = divideDeclarations(declareAttention(config), llamaPlacements(config), axis);
    this.#config = config;
    this.#heads = headsOfRank({ query: config.queryHeads, keyValue: config.keyValueHeads }, axis?.size);
    this.#rotary = rotary;
    this.#window = window;
  }

  forward(parameters: BlockParameters, input: Activations, context: BlockContext): Activations {
    const { normEpsilon, queryKeyValueBias, outputBias } = this.#config;
    const gain = parameters.get('input_layernorm.weight');
    const [residual, normed] = forkRmsNorm(hiddenOf(input), gain, normEpsilon);
    const projected = linear(normed, parameters.joined(WEIGHTS), {
      bias: queryKeyValueBias ? parameters.joined(BIASES) : undefined,
    });
    const mixed = sharedAttention(projected, this.#heads, context.sequenceAxis, (all, heads) =>
      this.#mix(parameters, all, heads, context),
    );
    const hidden = linear(mixed, parameters.get('self_attn.o_proj.weight'), {
      bias: outputBias ? parameters.get('self_attn.o_proj.bias') : undefined,
      residual,
    });
    return { hidden };
  }

  /** Attention over the projected queries, keys and values: [rows, length, query heads · head size]. */
  #mix(
    parameters: BlockParameters,
    projected: Tensor,
    { query: queryHeads, keyValue: keyValueHeads }: HeadCounts,
    { training, cache }: BlockContext,
  ): Tensor {
    const { headSize, queryKeyNorm, normEpsilon, attentionDropout } = this.#config;
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
    const [keys, values] = cache?.extend(this.parameterPrefix, ...own) ?? own;
    return attention(turned(query, 'self_attn.q_norm.weight'), keys, values, options);
  }
}

function declareAttention(config: LlamaConfig): readonly ParameterDeclaration[] {
  const { hiddenSize, queryHeads, keyValueHeads, headSize, initializerRange: std } = config;
  const querySize = queryHeads * headSize;
  const keyValueSize = keyValueHeads * headSize;
  const sizes = [querySize, keyValueSize, keyValueSize];
  const sizeOf = (index: number): number => sizes[index] ?? 0;
  return [
    gain('input_layernorm.weight', hiddenSize),
    ...WEIGHTS.map((name, index) => projection(name, [sizeOf(index), hiddenSize], std)),
    ...(config.queryKeyValueBias ? BIASES.map((name, index) => bias(name, sizeOf(index))) : []),
    ...(config.queryKeyNorm
      ? [gain('self_attn.q_norm.weight', headSize), gain('self_attn.k_norm.weight', headSize)]
      : []),
    projection('self_attn.o_proj.weight', [hiddenSize, querySize], std),
    ...(config.outputBias ? [bias('self_attn.o_proj.bias', hiddenSize)] : []),
  ];
}

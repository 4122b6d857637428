import { activate } from '../../nn/activation.js';
import { attention } from '../../nn/attention.js';
import type { Activations, Block, BlockContext, BlockParameters } from '../../nn/block.js';
import { dropout } from '../../nn/dropout.js';
import { layerNorm } from '../../nn/layer-norm.js';
import { transposedLinear } from '../../nn/linear.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import { splitHeads } from '../../nn/split-heads.js';
import type { Tensor } from '../../tensor/tensor.js';
import { bias, gain, transposedProjection } from '../declare.js';
import { hiddenOf } from '../hidden.js';
import type { Gpt2Config } from './gpt2-config.js';

/**
 * One layer of GPT-2: attention, then a feed-forward, each on the normalised residual stream and added back to
 * it (`GPT2Block` in transformers). Matrices are stored [inputs, outputs].
 */
export class Gpt2Layer implements Block {
  readonly name: string;
  readonly parameters: readonly ParameterDeclaration[];
  readonly #config: Gpt2Config;
  readonly #index: number;

  constructor(index: number, config: Gpt2Config) {
    this.name = `transformer.h.${index}`;
    this.parameters = declareLayer(config);
    this.#config = config;
    this.#index = index;
  }

  forward(parameters: BlockParameters, input: Activations, context: BlockContext): Activations {
    const attended = this.#attend(parameters, hiddenOf(input), context);
    return { hidden: this.#feedForward(parameters, attended, context) };
  }

  #attend(parameters: BlockParameters, residual: Tensor, context: BlockContext): Tensor {
    const { heads, dropout: probabilities, attentionScale } = this.#config;
    const normed = this.#norm(parameters, residual, 'ln_1');
    const [query, ...own] = splitHeads(affine(parameters, normed, 'attn.c_attn'), heads, heads);
    const [key, value] = context.cache?.extend(this.name, ...own) ?? own;
    const attended = attention(query, key, value, {
      scale: attentionScale(this.#index),
      dropout: context.training ? probabilities.attention : 0,
    });
    return this.#addTo(residual, parameters, attended, 'attn.c_proj', context);
  }

  #feedForward(parameters: BlockParameters, residual: Tensor, context: BlockContext): Tensor {
    const normed = this.#norm(parameters, residual, 'ln_2');
    const inner = activate(affine(parameters, normed, 'mlp.c_fc'), this.#config.activation);
    return this.#addTo(residual, parameters, inner, 'mlp.c_proj', context);
  }

  #norm(parameters: BlockParameters, input: Tensor, name: string): Tensor {
    const weight = parameters.get(`${name}.weight`);
    return layerNorm(input, weight, parameters.get(`${name}.bias`), this.#config.normEpsilon);
  }

  /** The projection back to the residual stream; dropout, where there is any, comes between it and the sum. */
  #addTo(
    residual: Tensor,
    parameters: BlockParameters,
    input: Tensor,
    name: string,
    context: BlockContext,
  ): Tensor {
    const probability = context.training ? this.#config.dropout.residual : 0;
    if (probability === 0) return affine(parameters, input, name, residual);
    return residual.add(dropout(affine(parameters, input, name), probability, true));
  }
}

function affine(parameters: BlockParameters, input: Tensor, name: string, residual?: Tensor): Tensor {
  const weight = parameters.get(`${name}.weight`);
  return transposedLinear(input, weight, { bias: parameters.get(`${name}.bias`), residual });
}

// Matrices onto the residual stream start smaller by the root of how many there are: two a layer.
function declareLayer(config: Gpt2Config): readonly ParameterDeclaration[] {
  const { hiddenSize, innerSize, layers, initializerRange: std } = config;
  const residualStd = std / Math.sqrt(2 * layers);
  return [
    gain('ln_1.weight', hiddenSize),
    bias('ln_1.bias', hiddenSize),
    transposedProjection('attn.c_attn.weight', [hiddenSize, 3 * hiddenSize], std),
    bias('attn.c_attn.bias', 3 * hiddenSize),
    transposedProjection('attn.c_proj.weight', [hiddenSize, hiddenSize], residualStd),
    bias('attn.c_proj.bias', hiddenSize),
    gain('ln_2.weight', hiddenSize),
    bias('ln_2.bias', hiddenSize),
    transposedProjection('mlp.c_fc.weight', [hiddenSize, innerSize], std),
    bias('mlp.c_fc.bias', innerSize),
    transposedProjection('mlp.c_proj.weight', [innerSize, hiddenSize], residualStd),
    bias('mlp.c_proj.bias', hiddenSize),
  ];
}

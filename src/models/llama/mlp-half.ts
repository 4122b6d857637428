import type { Activations, Block, BlockParameters } from '../../nn/block.js';
import { divideDeclarations } from '../../nn/divide.js';
import { gatedActivation } from '../../nn/gated-activation.js';
import { linear } from '../../nn/linear.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import { forkRmsNorm } from '../../nn/rms-norm.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import { bias, biasOf, gain, projection, weightOf } from '../declare.js';
import { hiddenOf } from '../hidden.js';
import type { LlamaConfig } from './llama-config.js';
import { llamaPlacements } from './placements.js';

// Declared side by side, these act as one matrix, and their products are one.
const GATE_UP = ['mlp.gate_proj', 'mlp.up_proj'] as const;
const WEIGHTS = GATE_UP.map(weightOf);
const BIASES = GATE_UP.map(biasOf);

/** The second half of a decoder layer: a gated feed-forward on the normalised residual stream, added back to it. */
export class LlamaMlpHalf implements Block {
  readonly name: string;
  readonly parameters: readonly ParameterDeclaration[];
  readonly joins = [WEIGHTS, BIASES];
  readonly #config: LlamaConfig;

  /** @param parameterPrefix name of the layer */
  constructor(
    readonly parameterPrefix: string,
    config: LlamaConfig,
    axis: TensorAxis | undefined,
  ) {
    this.name = `${parameterPrefix}.mlp`;
    this.parameters = divideDeclarations(declareMlp(config), llamaPlacements(config), axis);
    this.#config = config;
  }

  forward(parameters: BlockParameters, input: Activations): Activations {
    const { normEpsilon, feedForwardBias, activation } = this.#config;
    const gain = parameters.get('post_attention_layernorm.weight');
    const [residual, normed] = forkRmsNorm(hiddenOf(input), gain, normEpsilon);
    const gateAndUp = linear(normed, parameters.joined(WEIGHTS), {
      bias: feedForwardBias ? parameters.joined(BIASES) : undefined,
    });
    const activated = gatedActivation(gateAndUp, activation);
    const hidden = linear(activated, parameters.get('mlp.down_proj.weight'), {
      bias: feedForwardBias ? parameters.get('mlp.down_proj.bias') : undefined,
      residual,
    });
    return { hidden };
  }
}

function declareMlp(config: LlamaConfig): readonly ParameterDeclaration[] {
  const { hiddenSize, intermediateSize, feedForwardBias, initializerRange: std } = config;
  return [
    gain('post_attention_layernorm.weight', hiddenSize),
    ...WEIGHTS.map((name) => projection(name, [intermediateSize, hiddenSize], std)),
    ...(feedForwardBias ? BIASES.map((name) => bias(name, intermediateSize)) : []),
    projection('mlp.down_proj.weight', [hiddenSize, intermediateSize], std),
    ...(feedForwardBias ? [bias('mlp.down_proj.bias', hiddenSize)] : []),
  ];
}

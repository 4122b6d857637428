import { attention } from '../../nn/attention.js';
import type { Activations, Block, BlockContext, BlockParameters } from '../../nn/block.js';
import { divideDeclarations } from '../../nn/divide.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import { splitHeads } from '../../nn/split-heads.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import { hiddenOf } from '../hidden.js';
import type { Gpt2Config } from './gpt2-config.js';
import { gpt2Placements } from './placements.js';
import { declareBranch, enterBranch, leaveBranch } from './residual-branch.js';

const NAMES = { norm: 'ln_1', inward: 'attn.c_attn', outward: 'attn.c_proj' } as const;

/** The first half of a layer: attention on the normalised residual stream, added back to it. */
export class Gpt2AttentionHalf implements Block {
  readonly name: string;
  readonly parameters: readonly ParameterDeclaration[];
  readonly #scale: number;
  /** Heads of this rank. */
  readonly #heads: number;
  readonly #config: Gpt2Config;

  /**
   * @param parameterPrefix name of the layer
   * @param scale the factor on query·key
   */
  constructor(
    readonly parameterPrefix: string,
    scale: number,
    config: Gpt2Config,
    axis: TensorAxis | undefined,
  ) {
    const { hiddenSize } = config;
    this.name = `${parameterPrefix}.attention`;
    const whole = declareBranch(NAMES, config, 3 * hiddenSize, hiddenSize);
    this.parameters = divideDeclarations(whole, gpt2Placements(config), axis);
    this.#heads = config.heads / (axis?.size ?? 1);
    this.#scale = scale;
    this.#config = config;
  }

  forward(parameters: BlockParameters, activations: Activations, context: BlockContext): Activations {
    const { dropout } = this.#config;
    const stream = hiddenOf(activations);
    const projected = enterBranch(parameters, NAMES, stream, this.#config);
    const [query, ...own] = splitHeads(projected, this.#heads, this.#heads);
    const [key, value] = context.cache?.extend(this.parameterPrefix, ...own) ?? own;
    const input = attention(query, key, value, {
      scale: this.#scale,
      dropout: context.training ? dropout.attention : 0,
    });
    return { hidden: leaveBranch(parameters, NAMES, { input, stream }, this.#config, context) };
  }
}

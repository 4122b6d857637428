import { attention } from '../../nn/attention.js';
import type { Activations, Block, BlockContext, BlockParameters } from '../../nn/block.js';
import { divideDeclarations } from '../../nn/divide.js';
import { type HeadCounts, headsOfRank } from '../../nn/head-counts.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import { sharedAttention } from '../../nn/shared-attention.js';
import { splitHeads } from '../../nn/split-heads.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import type { Tensor } from '../../tensor/tensor.js';
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
  readonly #heads: HeadCounts;
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
    this.#heads = headsOfRank({ query: config.heads, keyValue: config.heads }, axis?.size);
    this.#scale = scale;
    this.#config = config;
  }

  forward(parameters: BlockParameters, activations: Activations, context: BlockContext): Activations {
    const stream = hiddenOf(activations);
    const projected = enterBranch(parameters, NAMES, stream, this.#config);
    const input = sharedAttention(projected, this.#heads, context.sequenceAxis, (all, heads) =>
      this.#mix(all, heads, context),
    );
    return { hidden: leaveBranch(parameters, NAMES, { input, stream }, this.#config, context) };
  }

  /** Attention over the projected queries, keys and values: [rows, length, heads · head size]. */
  #mix(projected: Tensor, heads: HeadCounts, { training, cache }: BlockContext): Tensor {
    const [query, ...own] = splitHeads(projected, heads.query, heads.keyValue);
    const [key, value] = cache?.extend(this.parameterPrefix, ...own) ?? own;
    return attention(query, key, value, {
      scale: this.#scale,
      dropout: training ? this.#config.dropout.attention : 0,
    });
  }
}

import { activate } from '../../nn/activation.js';
import type { Activations, Block, BlockContext, BlockParameters } from '../../nn/block.js';
import { divideDeclarations } from '../../nn/divide.js';
import type { ParameterDeclaration } from '../../nn/parameter.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import { hiddenOf } from '../hidden.js';
import type { Gpt2Config } from './gpt2-config.js';
import { gpt2Placements } from './placements.js';
import { declareBranch, enterBranch, leaveBranch } from './residual-branch.js';

const NAMES = { norm: 'ln_2', inward: 'mlp.c_fc', outward: 'mlp.c_proj' } as const;

/** The second half of a layer: a feed-forward on the normalised residual stream, added back to it. */
export class Gpt2MlpHalf implements Block {
  readonly name: string;
  readonly parameters: readonly ParameterDeclaration[];
  readonly #config: Gpt2Config;

  /** @param parameterPrefix name of the layer */
  constructor(
    readonly parameterPrefix: string,
    config: Gpt2Config,
    axis: TensorAxis | undefined,
  ) {
    this.name = `${parameterPrefix}.mlp`;
    const whole = declareBranch(NAMES, config, config.innerSize, config.innerSize);
    this.parameters = divideDeclarations(whole, gpt2Placements(config), axis);
    this.#config = config;
  }

  forward(parameters: BlockParameters, activations: Activations, context: BlockContext): Activations {
    const stream = hiddenOf(activations);
    const inner = enterBranch(parameters, NAMES, stream, this.#config);
    const input = activate(inner, this.#config.activation);
    return { hidden: leaveBranch(parameters, NAMES, { input, stream }, this.#config, context) };
  }
}

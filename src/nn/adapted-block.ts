import { invariant } from '../base/errors.js';
import type { Activations, Block, BlockContext, BlockParameters } from './block.js';
import type { LowRankUpdate, Parameter, ParameterDeclaration } from './parameter.js';

/** The size and strength of low-rank adapters. */
export interface AdapterOptions {
  readonly rank: number;
  /** The update is multiplied by alpha / rank. */
  readonly alpha: number;
  /** Probability with which an input element does not reach an adapter in training. */
  readonly dropout: number;
}

/** A linear layer by its weight. */
interface AdaptedLayer {
  readonly weight: string;
  readonly inputs: number;
  readonly outputs: number;
}

/**
 * A block with frozen parameters, some of whose linear layers have a trained low-rank update (LoRA). The block
 * itself does not know: it is handed weights that carry their updates. Names and initial values are PEFT's.
 */
export class AdaptedBlock implements Block {
  readonly name: string;
  readonly parameterPrefix: string;
  readonly parameters: readonly ParameterDeclaration[];
  readonly joins: readonly (readonly string[])[];
  readonly #layers: ReadonlyMap<string, AdaptedLayer>;

  /** @param targets names of weights that are declared as those of linear layers */
  constructor(
    readonly base: Block,
    targets: ReadonlySet<string>,
    readonly options: AdapterOptions,
  ) {
    const layers = base.parameters.filter(({ name }) => targets.has(name)).map(layerOf);
    this.name = base.name;
    this.parameterPrefix = base.parameterPrefix ?? base.name;
    this.joins = base.joins ?? [];
    this.#layers = new Map(layers.map((layer) => [layer.weight, layer]));
    this.parameters = [
      ...base.parameters.map((declaration) => ({ ...declaration, frozen: true })),
      ...layers.flatMap((layer) => declareUpdate(layer, options.rank)),
    ];
  }

  forward(parameters: BlockParameters, input: Activations, context: BlockContext): Activations {
    const adapted: BlockParameters = {
      get: (name) => this.#carrying(parameters.get(name), [name], parameters, context),
      joined: (names) => this.#carrying(parameters.joined(names), names, parameters, context),
    };
    return this.base.forward(adapted, input, context);
  }

  #carrying(
    weight: Parameter,
    names: readonly string[],
    parameters: BlockParameters,
    { training }: BlockContext,
  ): Parameter {
    const { rank, alpha, dropout } = this.options;
    const updates: LowRankUpdate[] = [];
    let firstOutput = 0;
    for (const name of names) {
      const layer = this.#layers.get(name);
      if (layer !== undefined) {
        updates.push({
          down: parameters.get(downName(name)),
          up: parameters.get(upName(name)),
          scale: alpha / rank,
          dropout: training ? dropout : 0,
          firstOutput,
        });
      }
      firstOutput += this.base.parameters.find((each) => each.name === name)?.shape[0] ?? 0;
    }
    return updates.length === 0 ? weight : { ...weight, updates };
  }
}

/** The name of a layer's matrix A, beside its weight. */
export function downName(weight: string): string {
  return `${moduleName(weight)}.lora_A.weight`;
}

/** The name of a layer's matrix B, beside its weight. */
export function upName(weight: string): string {
  return `${moduleName(weight)}.lora_B.weight`;
}

/** A layer by the name of its weight: "self_attn.q_proj" for "self_attn.q_proj.weight". */
export function moduleName(weight: string): string {
  return weight.replace(/\.weight$/, '');
}

function layerOf({ name, shape, linear }: ParameterDeclaration): AdaptedLayer {
  const [rows, columns] = shape;
  invariant(linear && rows && columns, `${name} is not the weight of a linear layer`);
  return linear === 'outputs × inputs'
    ? { weight: name, outputs: rows, inputs: columns }
    : { weight: name, outputs: columns, inputs: rows };
}

/** A as torch.nn.Linear begins (Kaiming, for a slope of √5), B zero: the model begins as what it was. */
function declareUpdate(
  { weight, inputs, outputs }: AdaptedLayer,
  rank: number,
): readonly ParameterDeclaration[] {
  return [
    {
      name: downName(weight),
      shape: [rank, inputs],
      initializer: { kind: 'uniform', bound: 1 / Math.sqrt(inputs) },
    },
    { name: upName(weight), shape: [outputs, rank], initializer: { kind: 'constant', value: 0 } },
  ];
}

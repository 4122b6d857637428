import type { Activations, Block, BlockContext, BlockParameters } from './block.js';
import type { ParameterDeclaration } from './parameter.js';

/** A block that is two others, one after the other, and offers them as its halves. */
export class BlockOfHalves implements Block {
  readonly parameters: readonly ParameterDeclaration[];
  readonly joins: readonly (readonly string[])[];

  /** @param halves have the name as their `parameterPrefix` */
  constructor(
    readonly name: string,
    readonly halves: readonly [Block, Block],
  ) {
    this.parameters = halves.flatMap(({ parameters }) => parameters);
    this.joins = halves.flatMap(({ joins = [] }) => joins);
  }

  forward(parameters: BlockParameters, input: Activations, context: BlockContext): Activations {
    const [first, second] = this.halves;
    return second.forward(parameters, first.forward(parameters, input, context), context);
  }
}

import { TrainyardError } from '../base/errors.js';
import type { Block, Model } from './block.js';
import { fullName } from './flat-layout.js';

/**
 * The model with every block that offers halves replaced by them. It computes the same, and its parameters have the
 * same names in the same order.
 *
 * @throws TrainyardError MODEL_INVALID for halves that do not declare the parameters of their block
 */
export function splitBlocks(model: Model): Model {
  return { ...model, blocks: model.blocks.flatMap(halvesOf) };
}

function halvesOf(block: Block): readonly Block[] {
  const { halves } = block;
  if (halves === undefined) return [block];
  const [whole, divided] = [namesOf([block]), namesOf(halves)];
  if (whole === divided) return halves;
  throw new TrainyardError('MODEL_INVALID', {
    what: 'The halves of a block do not declare its parameters.',
    where: block.name,
    expected: whole,
    got: divided,
    cure: "Declare each parameter in one half, in the block's order, and give both the block's name as parameterPrefix.",
  });
}

function namesOf(blocks: readonly Block[]): string {
  return blocks.flatMap((block) => block.parameters.map(({ name }) => fullName(block, name))).join(', ');
}

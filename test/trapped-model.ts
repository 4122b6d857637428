import assert from 'node:assert/strict';
import type { Block, Model } from '../src/nn/block.js';
import { OWN_BLOCKS_MODEL } from './own-blocks-model.js';

/** What a block does with a batch in which a token is. */
export const TRAPS = { output: 36, gradient: 35 } as const;

/** Its output is infinite for one token, and its gradient NaN for another, whose output is as it should be. */
const trap: Block = {
  name: 'trap',
  parameters: [{ name: 'gain', shape: [12], initializer: { kind: 'constant', value: 1 } }],
  forward(parameters, { hidden }, { batch }) {
    assert.ok(hidden);
    const ids = new Set(batch.inputIds.toArray());
    const scaled = hidden.mul(parameters.get('gain').value);
    if (ids.has(TRAPS.output)) return { hidden: scaled.mul(Number.POSITIVE_INFINITY) };
    // The derivative of a root is infinite at 0.
    return { hidden: ids.has(TRAPS.gradient) ? scaled.add(scaled.mul(0).sqrt()) : scaled };
  },
};

/** The model of one's own, with a trap between its layers. */
export const TRAPPED_MODEL: Model = {
  ...OWN_BLOCKS_MODEL,
  blocks: OWN_BLOCKS_MODEL.blocks.flatMap((block) => (block.name === 'layers.1' ? [trap, block] : [block])),
};

import { invariant } from '../../base/errors.js';
import { createCodec } from '../../comm/codec.js';
import { CompressedReductions } from '../../comm/compressed-reductions.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import type { StepState } from './step-state.js';

/** `sum`: this rank's slice of a block's gradients, summed in place over the ranks that own the same slice. */
export function sum(state: StepState): Handlers['sum'] {
  const { replicate: group } = state.resources;
  const compressed = group && new CompressedReductions(group);
  return (instruction) => {
    const slice = state.shards.gradients[instruction.block];
    invariant(group && compressed && slice, 'a slice is summed over groups where there is one');
    const work =
      instruction.compression === undefined
        ? group.allReduce(slice, 'sum')
        : compressed.allReduce(slice, createCodec(instruction.compression));
    state.started.put({ tensors: [], work }, startName(instruction));
  };
}

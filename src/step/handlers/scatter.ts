import { invariant } from '../../base/errors.js';
import { createCodec } from '../../comm/codec.js';
import { CompressedReductions } from '../../comm/compressed-reductions.js';
import { followedBy, type Work } from '../../comm/work.js';
import { noGrad } from '../../tensor/autograd.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { GradientPart, Program } from '../program.js';
import { dataPlace, isOffloaded, ownElements } from '../sharding.js';
import { errorFeedback } from './error-feedback.js';
import type { StepState } from './step-state.js';

/**
 * `scatter`: the sum over the ranks of one part of every slice of a block's gradients. The sum of the own slice
 * is made in place; where gradients are not kept it is then added to the shard.
 */
export function scatter(program: Program, state: StepState): Handlers['scatter'] {
  const { group, parameters } = state.resources;
  const place = dataPlace(program);
  const compressed = group && new CompressedReductions(group);
  const startSum = (
    rows: Tensor,
    own: Tensor,
    part: GradientPart,
    { compression, betweenHosts }: Instruction<'scatter'>,
  ): Work => {
    invariant(group && compressed, 'a program of one rank scatters gradients');
    if (compression !== undefined && betweenHosts) {
      invariant(program.hosts, 'gradients are compressed between hosts where there is one');
      return compressed.reduceScatterBetweenHosts(rows, createCodec(compression), program.hosts);
    }
    if (compression !== undefined) {
      const codec = createCodec(compression);
      if (!codec.feedsBack) return compressed.reduceScatter(rows, codec);
      const feedback = errorFeedback(program, state);
      return followedBy(compressed.reduceScatter(rows, codec, feedback.ofPart(part)), () =>
        feedback.settlePart(part, own),
      );
    }
    const inputs = program.groups.data.map((_, rank) => (rank === place ? own : rows.select(0, rank)));
    return group.reduceScatter(own, inputs, 'sum');
  };
  return (instruction) => {
    const part = program.sharding?.parts[instruction.part];
    invariant(part, `there is no part ${instruction.part} to scatter`);
    const { start, end } = part;
    const { gradients } = parameters.memoryOf(part.block);
    invariant(gradients, 'gradients are reduced where none are wanted');
    const ranks = program.groups.data.length;
    const rows = gradients.view([ranks, ownElements(part.block, program)]).narrow(1, start, end - start);
    const tensor = rows.select(0, place);
    const work = startSum(rows, tensor, part, instruction);
    const isKept = program.sharding?.gradients === 'kept';
    const finish = (): void => {
      work.wait();
      // What goes to another tier is added up on its way there.
      if (isKept || isOffloaded('gradients', part.block, program)) return;
      const shard = state.shards.gradients[part.block];
      invariant(shard, `there is no slice of the gradients of block ${part.block}`);
      noGrad(() => shard.narrow(0, start, end - start).add_(tensor));
    };
    state.started.put({ tensors: [keep(tensor)], work: { wait: finish } }, startName(instruction));
  };
}

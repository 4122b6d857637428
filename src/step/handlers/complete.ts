import { invariant } from '../../base/errors.js';
import type { FlatSlot } from '../../nn/flat-layout.js';
import type { Division } from '../../nn/tensor-axis.js';
import { noGrad } from '../../tensor/autograd.js';
import { zeros } from '../../tensor/generated/functions.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import { startName } from '../instruction-text.js';
import type { StepState } from './step-state.js';

/**
 * `complete`: sums what the ranks of a group found each of the gradients of parameters that several of them have.
 */
export function complete(state: StepState): Handlers['complete'] {
  const [overTensor, overTied] = [completeOverTensor(state), completeTied(state)];
  return (instruction) => (instruction.axis === 'tensor' ? overTensor : overTied)(instruction);
}

/** Where they lie: a parameter that ties stages is large, and alone in its block as a rule. */
function completeTied(state: StepState): Handlers['complete'] {
  const { parameters, tied: group } = state.resources;
  return (instruction) => {
    const { block } = instruction;
    const { gradients } = parameters.memoryOf(block);
    invariant(group && gradients, 'a tied parameter is completed where there is no other stage');
    const start = parameters.layout.ranges[block]?.start ?? 0;
    const tensors = (parameters.layout.blocks[block] ?? [])
      .filter(({ name, owner, trainable, shared }) => name === owner && trainable && shared !== undefined)
      .map(({ offset, elements }) => keep(gradients.narrow(0, offset - start, elements)));
    const works = tensors.map((tensor) => group.allReduce(tensor, 'sum'));
    const wait = (): void => {
      for (const work of works) work.wait();
    };
    state.started.put({ tensors, work: { wait } }, startName(instruction));
  };
}

/** All those of a block in one message. Of heads that only some ranks share, it has a place for each. */
function completeOverTensor(state: StepState): Handlers['complete'] {
  const { parameters, tensor: group } = state.resources;
  return (instruction) => {
    const { block } = instruction;
    const { gradients } = parameters.memoryOf(block);
    invariant(group && gradients, 'a block is completed where there is nobody to complete it with');
    const partial = (parameters.layout.blocks[block] ?? []).flatMap(partialIn);
    const start = parameters.layout.ranges[block]?.start ?? 0;
    noGrad(() => {
      const message = zeros([partial.reduce((sum, { elements }) => sum + elements, 0)], {
        dtype: gradients.dtype,
        device: gradients.device,
      });
      const pairs = partial.map(({ slot, place }, index): readonly [Tensor, Tensor] => {
        const before = partial.slice(0, index).reduce((sum, { elements }) => sum + elements, 0);
        return [
          gradients.narrow(0, slot.offset - start, slot.elements),
          message.narrow(0, before + place, slot.elements),
        ];
      });
      for (const [own, inMessage] of pairs) inMessage.copy_(own);
      const work = group.allReduce(message, 'sum');
      const finish = (): void => {
        work.wait();
        noGrad(() => {
          for (const [own, inMessage] of pairs) own.copy_(inMessage);
        });
      };
      const tensors = [message, ...pairs.flat()].map((tensor) => keep(tensor));
      state.started.put({ tensors, work: { wait: finish } }, startName(instruction));
    });
  };
}

/** A parameter of which each rank has a part of the gradient, and where in its part of the message it lies. */
interface Partial {
  readonly slot: FlatSlot;
  readonly place: number;
  /** That all ranks have of it together. */
  readonly elements: number;
}

function partialIn(slot: FlatSlot): readonly Partial[] {
  const { division, name, owner, trainable } = slot;
  if (name !== owner || !trainable || division?.isPartial !== true) return [];
  return [{ slot, place: placeOf(division), elements: partialElements(division) }];
}

/** Elements of a whole parameter. */
function partialElements({ shape }: Pick<Division, 'shape'>): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Heads lie one after the other along the first dimension. */
function placeOf({ dimension, shape, runs, axis }: Division): number {
  if (dimension === undefined) return 0;
  invariant(dimension === 0, 'heads that ranks share follow one another in memory');
  const start = runs[axis.rank]?.[0]?.start ?? 0;
  return start * shape.slice(1).reduce((product, size) => product * size, 1);
}

import type { ProcessGroup } from '../../comm/process-group.js';
import { tensor } from '../../tensor/create.js';
import { empty, normSquared, zeros } from '../../tensor/generated/functions.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import { dataPlace, isOffloaded, ownElements } from '../sharding.js';
import { isDividedIntoStages } from '../stage-blocks.js';
import { localAgreement } from './local-agreement.js';
import type { StepState } from './step-state.js';

/**
 * `check`: whether the sum of squared gradients is finite, and that of the losses where it is asked for; all ranks know both alike. Where it is not, the
 * parameter is found whose gradient was the first to overflow; that alone costs another pass and, where gradients
 * are divided, a message.
 */
export function check(program: Program, state: StepState): Handlers['check'] {
  return ({ loss = false }) => {
    state.agreed ??= localAgreement(program, state);
    const { squares, lossSum } = state.agreed;
    if (Number.isFinite(squares)) {
      if (loss && !Number.isFinite(lossSum)) state.overflow = 'the loss';
      return;
    }
    const found = latest(program, state, ownOverflow(program, state));
    const stage = latestStage(program, state, found);
    state.overflow =
      stage === undefined
        ? (trainedSlots(state)[found]?.name ?? 'an unknown parameter')
        : `a parameter of pipeline stage ${stage}`;
  };
}

/** The last of the other stages where something overflowed, unless the own one comes after it. */
function latestStage(program: Program, state: StepState, own: number): number | undefined {
  const { pipeline } = program;
  if (pipeline === undefined || !isDividedIntoStages(program)) return undefined;
  const all = zeros([pipeline.stages], { dtype: 'float64' });
  state.stages.group.allGather(all, tensor(Float64Array.of(own))).wait();
  const last = all
    .toArray()
    .map((found) => found !== -1)
    .lastIndexOf(true);
  return last === -1 || last === pipeline.stage ? undefined : last;
}

/** Owners of trained memory, in the order of the model. */
function trainedSlots({ resources }: StepState) {
  return resources.parameters.layout.blocks
    .flat()
    .filter(({ name, owner, trainable }) => name === owner && trainable);
}

/**
 * The last parameter of the model among those with an infinite or NaN gradient in this rank's memory: backward
 * comes to it first, and those before it in the model inherit what it has. -1 where there is none.
 */
function ownOverflow(program: Program, state: StepState): number {
  const overflows = trainedSlots(state).map(({ offset, elements }) => {
    return scope(() => {
      const part = gradientsIn(program, state, offset, offset + elements);
      return part !== undefined && !Number.isFinite(normSquared(part).item());
    });
  });
  return overflows.lastIndexOf(true);
}

/** What this rank has of elements [start, end) of the flat gradients. */
function gradientsIn(program: Program, state: StepState, start: number, end: number): Tensor | undefined {
  const { sharding } = program;
  if (sharding === undefined || program.exchanges === 'momentum')
    return state.gradients.values.narrow(0, start, end - start);
  const block = sharding.ranges.findIndex((range) => start < range.end);
  const length = ownElements(block, program);
  const sliceStart = (sharding.ranges[block]?.start ?? 0) + dataPlace(program) * length;
  const from = Math.max(start, sliceStart);
  const to = Math.min(end, sliceStart + length);
  return from < to ? ownGradients(program, state, block, from - sliceStart, to - from) : undefined;
}

/** Elements of the own slice of a block's gradients, from wherever it is. */
function ownGradients(
  program: Program,
  state: StepState,
  block: number,
  start: number,
  elements: number,
): Tensor | undefined {
  if (!isOffloaded('gradients', block, program)) {
    return state.shards.gradients[block]?.narrow(0, start, elements);
  }
  const store = state.offloaded.gradients[block];
  if (store === undefined) return undefined;
  const part = empty([elements], { dtype: store.dtype });
  store.read(part, start).wait();
  return part;
}

/** The largest index of all ranks. */
function latest(program: Program, { resources }: StepState, own: number): number {
  const isKnown = program.sharding === undefined && program.exchanges === undefined;
  const ofData = isKnown ? own : largestOf(resources.group, program.groups.data.length, own);
  return largestOf(resources.tensor, program.groups.tensor?.length ?? 1, ofData);
}

function largestOf(group: Pick<ProcessGroup, 'allGather'> | undefined, ranks: number, own: number): number {
  if (group === undefined || ranks === 1) return own;
  const all = zeros([ranks], { dtype: 'float64' });
  group.allGather(all, tensor(Float64Array.of(own))).wait();
  return Math.max(...all.toArray());
}

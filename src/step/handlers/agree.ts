import { invariant } from '../../base/errors.js';
import type { ProcessGroup } from '../../comm/process-group.js';
import { tensor as makeTensor } from '../../tensor/create.js';
import { normSquared, zeros } from '../../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../../tensor/tensor.js';
import type { Handlers } from '../executor.js';
import type { Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { dataPlace, isOffloaded } from '../sharding.js';
import { countedSquares } from './counted-squares.js';
import { localAgreement } from './local-agreement.js';
import type { StepState } from './step-state.js';

/**
 * `agree`: every rank learns of the others' tally and sum of squared gradients, and adds them up in the order
 * of ranks, so that all come to the same numbers. Where gradients stay with their ranks it is the norm of each: their sum
 * is what the norm of the summed gradients is at most, and stands for it. Where the state is divided inside groups, these
 * tell each other what each agreed on. Ranks with other parts of the same layers then tell each other what those agreed
 * on that have the same parts, and at last the stages what each of them knows.
 */
export function agree(program: Program, state: StepState): Handlers['agree'] {
  return (instruction) => {
    const { group = 'data', known, isOwn } = said(instruction, program, state);
    const ranks = program.groups[group]?.length ?? 1;
    const tensor = zeros([ranks * known.length], { dtype: 'float64' });
    const work = groupOf(group, state).allGather(tensor, makeTensor(known));
    const finish = (): void => {
      work.wait();
      const all = tensor.toArray();
      const sumOf = (item: number): number =>
        all.reduce((sum, value, index) => (index % known.length === item ? sum + value : sum), 0);
      const squares = isOwn ? sumOf(3) ** 2 : sumOf(3);
      state.agreed = { lossSum: sumOf(0), tokens: sumOf(1), stopVotes: sumOf(2), squares };
    };
    state.started.put({ tensors: [keep(tensor)], work: { wait: finish } }, startName(instruction));
  };
}

interface Said {
  readonly group?: 'replicate' | 'tensor' | 'pipeline';
  /** Sum of losses, tokens, votes, and the measure of the gradients. */
  readonly known: Float64Array;
  readonly isOwn: boolean;
}

function said({ gradients, over }: Instruction<'agree'>, program: Program, state: StepState): Said {
  if (over !== undefined) {
    const { lossSum, tokens, stopVotes, squares } = state.agreed ?? localAgreement(program, state);
    const { tensor, replicate } = state.resources;
    // Every rank of a tensor axis has the same losses and tokens; of the stages the last has them alone.
    const counts = over !== 'tensor' || tensor?.rank === 0 ? 1 : 0;
    // Every group has the same sums of gradients.
    const isCopy = over === 'replicate' && replicate?.rank !== 0;
    const known = Float64Array.of(counts * lossSum, counts * tokens, stopVotes, isCopy ? 0 : squares);
    return { group: over, known, isOwn: false };
  }
  const isOwn = gradients === 'own';
  const measure = isOwn ? Math.sqrt(squaresOf(state.gradients.values)) : sumOfSquares(program, state);
  return { known: Float64Array.of(...state.gradients.tally.toArray(), measure), isOwn };
}

function groupOf(
  name: 'data' | NonNullable<Said['group']>,
  { resources }: StepState,
): Pick<ProcessGroup, 'allGather'> {
  const { group: data, replicate, tensor, stages } = resources;
  const group = { data, replicate, tensor, pipeline: stages?.group }[name];
  invariant(group, 'a program of one rank has nobody to agree with');
  return group;
}

function sumOfSquares(program: Program, { shards, squares, resources }: StepState): number {
  const { layout } = resources.parameters;
  return shards.gradients.reduce((sum, slice, block) => {
    if (isOffloaded('gradients', block, program)) return sum + (squares.get(block) ?? 0);
    const start = (program.sharding?.ranges[block]?.start ?? 0) + dataPlace(program) * slice.elements;
    return sum + countedSquares(slice, start, layout);
  }, 0);
}

function squaresOf(values: Tensor): number {
  return values.elements === 0 ? 0 : scope(() => normSquared(values).item());
}

import type { ProcessGroup } from '../../comm/process-group.js';
import type { Model } from '../../nn/block.js';
import type { FlatSlot } from '../../nn/flat-layout.js';
import { findNonFinite, type NonFiniteTensor } from '../../step/find-non-finite.js';
import type { StepInputs, StepMetrics, StepResources } from '../../step/handlers/step-state.js';
import { isFiniteStep, type NonFiniteElements, nonFiniteElements } from '../../step/non-finite.js';
import type { Program } from '../../step/program.js';
import { noGrad } from '../../tensor/autograd.js';
import { type FlatSlice, isStored } from '../../tensor/flat-store.js';
import { empty } from '../../tensor/generated/functions.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import { piecesOf } from '../../zero/partition.js';
import { readSlice } from '../flat-slice.js';
import { gatherText } from '../gather-bytes.js';
import type { TrainingMemory } from '../training-memory.js';

/** A tensor of one rank that was not finite: a weight before the step began, or the first that the step made. */
export type NonFiniteFinding =
  | (NonFiniteElements & { readonly kind: 'parameter'; readonly module: string; readonly tensor: string })
  | NonFiniteTensor;

/** What was found where. */
export interface Diagnosis {
  /** The first of all, and on which rank. Absent where each rank by itself computed nothing but finite numbers. */
  readonly first?: NonFiniteFinding & { readonly rank: number };
  /** Of each rank in their order; null where it computed nothing but finite numbers. */
  readonly ranks: readonly (NonFiniteFinding | null)[];
  /** Whether the loss and the gradient norm were finite when the step was computed again. */
  readonly vanished: boolean;
}

/** What a step is looked through with. */
export interface StepToSearch {
  readonly program: Program;
  readonly resources: StepResources;
  readonly inputs: StepInputs;
  readonly step: number;
}

/**
 * Finds on this rank what was first not finite: weights are looked at before anything is computed from them, then the step
 * is run again. All ranks of the program must call it.
 */
export function searchRank(
  model: Model,
  memory: TrainingMemory,
  ownShard: number,
  { program, resources, inputs, step }: StepToSearch,
): { readonly finding: NonFiniteFinding | undefined; readonly metrics: StepMetrics } {
  const parameter = badParameter(model, memory, ownShard);
  const { found, metrics } = findNonFinite(program, resources, inputs, step);
  return { finding: parameter ?? found, metrics };
}

/** As `searchRank`, with what all ranks found. All of them must call it. */
export function diagnose(group: ProcessGroup, ...search: Parameters<typeof searchRank>): Diagnosis {
  const { finding, metrics } = searchRank(...search);
  const ranks = gatherText(group, JSON.stringify(finding ?? null)).map(
    (text) => JSON.parse(text) as NonFiniteFinding | null,
  );
  const first = firstOf(ranks);
  return { ...(first && { first }), ranks, vanished: isFiniteStep(metrics) };
}

/** The one that came first in the step; of several at the same place that of the lowest rank. */
function firstOf(
  ranks: readonly (NonFiniteFinding | null)[],
): (NonFiniteFinding & { readonly rank: number }) | undefined {
  const [first] = ranks
    .flatMap((finding, rank) => (finding === null ? [] : [{ ...finding, rank }]))
    .sort((left, right) => compare(placeInStep(left), placeInStep(right)) || left.rank - right.rank);
  return first;
}

/** Stages run other instructions than each other: what counts is how far a micro-batch has come on its way. */
function placeInStep(finding: NonFiniteFinding): readonly number[] {
  if (finding.kind === 'parameter') return [-1];
  const { kind, micro, block } = finding;
  return kind === 'output' ? [micro, 0, block] : [micro, 1, -block];
}

function compare(left: readonly number[], right: readonly number[]): number {
  const index = left.findIndex((each, at) => each !== right[at]);
  return index === -1 ? 0 : (left[index] ?? 0) - (right[index] ?? 0);
}

/** The first weight of the model that is not finite, of those that this rank updates and those that are frozen. */
function badParameter(model: Model, memory: TrainingMemory, ownShard: number): NonFiniteFinding | undefined {
  for (const [index, slots] of memory.parameters.layout.blocks.entries()) {
    const module = model.blocks[index]?.name ?? `block ${index}`;
    for (const slot of slots) {
      if (slot.name !== slot.owner) continue;
      const elements = slot.trainable
        ? inOwnPieces(memory, ownShard, slot)
        : nonFiniteElements(memory.parameters.owner(slot.name).value);
      if (elements !== undefined) return { kind: 'parameter', module, tensor: slot.name, ...elements };
    }
  }
  return undefined;
}

function inOwnPieces(
  { partition, owned, stores }: TrainingMemory,
  ownShard: number,
  slot: FlatSlot,
): NonFiniteElements | undefined {
  for (const { rank, range, sliceOffset, elements } of piecesOf(partition, slot)) {
    const slice = stores?.parameters[range] ?? owned.values[range];
    if (rank !== ownShard || slice === undefined) continue;
    const found = scope(() => nonFiniteElements(noGrad(() => partOf(slice, sliceOffset, elements))));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Elements of a slice, which are read where it lies in another tier. */
function partOf(slice: FlatSlice, start: number, elements: number): Tensor {
  if (!isStored(slice)) return slice.narrow(0, start, elements);
  const part = empty([elements], { dtype: slice.dtype });
  readSlice(slice, start, part);
  return part;
}

import { z } from 'zod';
import { TrainyardError } from '../base/errors.js';
import type { JsonObject, JsonValue } from '../base/json-document.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { FlatSlot } from '../nn/flat-layout.js';
import type { OptimizerGroup } from '../optim/optimizer-group.js';
import type { PieceSource } from '../store/checkpoint/write.js';
import type { LoadedCheckpoint } from '../store/checkpoint.js';
import { noGrad } from '../tensor/autograd.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { piecesOf } from '../zero/partition.js';
import { type ParameterSource, savedSource } from './fill-parameters.js';
import { gatherText } from './gather-bytes.js';
import type { OuterState } from './outer-state.js';
import { pieceFrom } from './own-pieces.js';
import type { TrainingMemory } from './training-memory.js';

// [Note: checkpoints of replicas] Under their own names are the weights from which a run of any other layout would go on:
// the common ones of the last synchronisation, or rank 0's where there is none. Under "optimizer.…" are rank 0's states.
// What other replicas have is "replica.<rank>.<the same name>"; "outer.<state>.<parameter>" is the outer optimizer's.

const EXTRA = 'replicas';
const extraSchema = z.strictObject({
  /** What each rank goes on from beside tensors: `extra` of a checkpoint of its own. */
  progress: z.array(z.record(z.string(), z.json())).min(1),
  /** Whether they had been brought together, or would be. */
  meet: z.boolean(),
});

const REPLICA = 'replica.';
const OUTER = 'outer.';
const replicaName = (rank: number, name: string): string => `${REPLICA}${rank}.${name}`;
const outerName = (state: string, parameter: string): string => `${OUTER}${state}.${parameter}`;
const stateName = (state: string, parameter: string): string => `optimizer.${state}.${parameter}`;

/** Whether a tensor of a checkpoint is one replica's, or of what brings them together. */
export function isReplicaTensor(name: string): boolean {
  return name.startsWith(REPLICA) || name.startsWith(OUTER);
}

/** The replica of this rank, and what brings it together with the others. */
export interface ReplicaState {
  readonly memory: TrainingMemory;
  readonly optimizer: OptimizerGroup;
  /** Absent where replicas never meet. */
  readonly outer?: OuterState;
  readonly group: ProcessGroup;
}

/** For `extra` of a checkpoint. Every rank must call it. */
export function replicasToSave(
  { group, outer }: ReplicaState,
  own: Readonly<Record<string, JsonValue>>,
): Readonly<Record<string, JsonValue>> {
  const progress = gatherText(group, JSON.stringify(own)).map((text) => JSON.parse(text) as JsonObject);
  return { [EXTRA]: { progress, meet: outer !== undefined } };
}

/**
 * What this rank saves: of the weights and states that every checkpoint has its part, and beside them what it alone has.
 */
export function replicaPieces(state: ReplicaState, slots: readonly FlatSlot[]): readonly PieceSource[] {
  const { memory, optimizer, outer, group } = state;
  const [weights] = memory.owned.values;
  const isFirst = group.rank === 0;
  const own = (name: string, flat: Tensor | undefined): readonly PieceSource[] =>
    slots.flatMap((slot) => (flat === undefined ? [] : [wholeOf(nameOf(name, slot), slot, flat)]));
  const nameOf = (state: string, slot: FlatSlot): string => {
    const name = state === '' ? slot.name : stateName(state, slot.name);
    // The first replica goes by the plain names, but for weights that are not those that all have in common.
    return isFirst && (state !== '' || outer === undefined) ? name : replicaName(group.rank, name);
  };
  const sliced = (name: (slot: FlatSlot) => string, slice: Tensor | undefined): readonly PieceSource[] =>
    slots.flatMap((slot) => (slice === undefined ? [] : slicedPieces(name(slot), slot, slice, state)));
  return [
    ...own('', weights),
    ...[...optimizer.states].flatMap(([name, [flat]]) => own(name, flat)),
    ...sliced(({ name }) => name, outer?.common),
    ...[...(outer?.states ?? [])].flatMap(([name, [slice]]) =>
      sliced((slot) => outerName(name, slot.name), slice),
    ),
  ];
}

function wholeOf(name: string, { shape, elements, offset }: FlatSlot, flat: Tensor): PieceSource {
  return pieceFrom({ name, dtype: flat.dtype, shape, start: 0, elements, flat, offset });
}

function slicedPieces(
  name: string,
  slot: FlatSlot,
  flat: Tensor,
  state: ReplicaState,
): readonly PieceSource[] {
  return outerPieces(state, slot)
    .filter(({ rank }) => rank === state.group.rank)
    .map(({ sliceOffset, offset, elements }) =>
      pieceFrom({
        name,
        dtype: flat.dtype,
        shape: slot.shape,
        start: offset,
        elements,
        flat,
        offset: sliceOffset,
      }),
    );
}

function outerPieces({ memory, group }: ReplicaState, slot: FlatSlot) {
  const range = { start: 0, end: memory.parameters.layout.trainableElements };
  return piecesOf({ ranks: group.worldSize, ranges: [range] }, slot);
}

/** What came of the replicas in a checkpoint. */
export interface LoadedReplicas {
  /** What is otherwise than one might expect, to be printed. */
  readonly notes: readonly string[];
  /** Of `extra`, what is this rank's own. */
  readonly extra: Readonly<Record<string, JsonValue>>;
}

/**
 * Takes up the replicas of a checkpoint, when memory has what every checkpoint has. On as many ranks as it was saved with,
 * each goes on with its own, to the last bit. On another number all go on from the common weights of the last
 * synchronisation, or, of replicas that never meet, rank r from those of replica r modulo their number; and rank r with the
 * optimizer states of that replica.
 *
 * @param state undefined: this run trains one model
 * @throws TrainyardError CHECKPOINT_INVALID for what no run can have saved
 */
export function loadReplicas(
  checkpoint: LoadedCheckpoint,
  state: ReplicaState | undefined,
  slots: readonly FlatSlot[],
): LoadedReplicas {
  const saved = extraSchema.optional().safeParse(checkpoint.state.extra[EXTRA]);
  if (!saved.success) throw impossible(checkpoint, EXTRA);
  if (state === undefined) return loadIntoOne(saved.data);
  // What memory has by now is what all replicas had in common.
  state.outer?.begin();
  if (saved.data === undefined) return { notes: [], extra: {} };
  const { progress, meet } = saved.data;
  const saver = state.group.rank % progress.length;
  const isSameWorld = progress.length === state.group.worldSize;
  if (isSameWorld || !meet) {
    const from = (name: string): string => (saver === 0 && !meet ? name : replicaName(saver, name));
    for (const slot of slots) state.memory.fill(slot, sourceOf(checkpoint, from(slot.name), slot));
  }
  const from = (name: string): string => (saver === 0 ? name : replicaName(saver, name));
  for (const [name, slices] of state.optimizer.states) {
    for (const slot of slots) {
      state.memory.fill(slot, sourceOf(checkpoint, from(stateName(name, slot.name)), slot), slices);
    }
  }
  loadOuter(checkpoint, state, slots);
  return { notes: notesOf(saved.data, state), extra: progress[saver] ?? {} };
}

function loadIntoOne(saved: z.output<typeof extraSchema> | undefined): LoadedReplicas {
  if (saved === undefined) return { notes: [], extra: {} };
  const weights = saved.meet ? 'the common weights of the last synchronisation' : "rank 0's replica";
  return {
    notes: [`the checkpoint has ${saved.progress.length} replicas: the run goes on from ${weights}`],
    extra: {},
  };
}

function notesOf(
  { progress, meet }: z.output<typeof extraSchema>,
  { group }: ReplicaState,
): readonly string[] {
  if (progress.length === group.worldSize) return [];
  const start = meet ? 'all go on from the common weights of the last synchronisation' : 'they are dealt out';
  return [`the checkpoint has ${progress.length} replicas for ${group.worldSize} ranks: ${start}`];
}

/** The state of the outer optimizer, where it was saved: it begins anew otherwise. */
function loadOuter(checkpoint: LoadedCheckpoint, state: ReplicaState, slots: readonly FlatSlot[]): void {
  for (const [name, [slice]] of state.outer?.states ?? []) {
    for (const slot of slots.filter((each) => checkpoint.names.includes(outerName(name, each.name)))) {
      const source = sourceOf(checkpoint, outerName(name, slot.name), slot);
      noGrad(() =>
        scope(() => {
          for (const { rank, sliceOffset, offset, elements } of outerPieces(state, slot)) {
            if (rank === state.group.rank && slice) source(slice.narrow(0, sliceOffset, elements), offset);
          }
        }),
      );
    }
  }
}

function sourceOf(checkpoint: LoadedCheckpoint, name: string, slot: FlatSlot): ParameterSource {
  if (!checkpoint.names.includes(name)) throw impossible(checkpoint, name);
  const tensor = checkpoint.read(name);
  if (tensor.shape.join() !== slot.shape.join()) throw impossible(checkpoint, name);
  return savedSource(tensor);
}

function impossible({ tag }: LoadedCheckpoint, name: string): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: `The checkpoint says something impossible of replicas: ${name}.`,
    where: tag,
    cure: 'Remove this checkpoint; an older one beside it is used then.',
  });
}

import { TrainyardError } from '../base/errors.js';
import type { JsonValue } from '../base/json-document.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { TrainingOptimizer } from '../optim/optimizer-group.js';
import { type LoadedCheckpoint, loadCheckpoint, saveCheckpoint } from '../store/checkpoint.js';
import type { Device } from '../tensor/dtype.js';
import type { FlatSlice } from '../tensor/flat-store.js';
import { randomState, setRandomState } from '../tensor/random.js';
import { type CollectiveTensor, collectTensors } from './collect-tensors.js';
import {
  type ErrorState,
  errorsToSave,
  errorTensors,
  isErrorTensor,
  loadErrors,
} from './error-checkpoint.js';
import { storedSource } from './fill-parameters.js';
import { gatherBytes } from './gather-bytes.js';
import {
  commonTensor,
  isReplicaTensor,
  loadReplicas,
  type ReplicaState,
  replicasToSave,
  replicaTensors,
} from './replica-checkpoint.js';
import { demandSameRun, identityToSave, type RunIdentity } from './run-identity.js';
import type { LogicalParameter, TrainingMemory } from './training-memory.js';

/** What a checkpoint saves and restores on one rank. */
export interface TrainingState {
  readonly memory: TrainingMemory;
  readonly optimizer: TrainingOptimizer;
  readonly group: ProcessGroup;
  readonly device: Device;
  readonly seed: number;
  /** Sequences in a global batch: with the number of steps it tells how much of the data was used. */
  readonly batchSize: number;
  readonly identity: RunIdentity;
  /** What else the engine goes on from. */
  readonly extra: Readonly<Record<string, JsonValue>>;
  /** Absent where messages have no errors that are kept. */
  readonly errors?: ErrorState;
  /** Absent where all ranks train one model. */
  readonly replicas?: ReplicaState;
}

/** A checkpoint that a run goes on from. */
export interface RestoredCheckpoint extends LoadedCheckpoint {
  /** What is otherwise than one might expect: to be printed. */
  readonly notes: readonly string[];
}

/**
 * Saves parameters, optimizer states and random states as logical tensors under Hugging Face names, whatever
 * the layout in memory. Every rank must call it; rank 0 writes, and all return when the checkpoint is safe.
 *
 * @returns on rank 0 the checkpoint's folder
 * @throws TrainyardError OUTPUT_UNWRITABLE.
 */
export function saveTrainingState(
  directory: string,
  state: TrainingState,
  steps: number,
): string | undefined {
  const random = gatherBytes(state.group, randomState(state.device));
  const { memory } = state;
  const tensors = logicalTensors(state).map(({ name, slot, slices }): CollectiveTensor => {
    const common = name === slot.name ? state.replicas && commonTensor(state.replicas, name) : undefined;
    return (
      common ?? {
        name,
        dtype: memory.dtypeOf(slot),
        shape: slot.shape,
        read: () => memory.read(slot, slices),
      }
    );
  });
  if (state.errors !== undefined) tensors.push(...errorTensors(state.errors, ownSlots(state)));
  if (state.replicas !== undefined) tensors.push(...replicaTensors(state.replicas, ownSlots(state)));
  const replicas = state.replicas && replicasToSave(state.replicas, state.extra);
  const folder = collectTensors(state.group, tensors, (sources) =>
    saveCheckpoint(directory, {
      state: {
        step: steps,
        data: { seed: state.seed, position: steps * state.batchSize },
        random: Object.fromEntries(random.map((bytes, rank) => [randomName(rank), bytes])),
        extra: {
          ...state.extra,
          ...identityToSave(state.identity),
          ...(state.errors && errorsToSave(state.errors)),
          ...replicas,
        },
      },
      tensors: sources,
    }),
  );
  state.group.barrier().wait();
  return folder;
}

/**
 * Restores the newest whole checkpoint of `directory` and returns its number of steps; undefined when there is
 * none. Every rank reads for itself.
 *
 * @throws TrainyardError CHECKPOINT_INVALID when none is whole, or the tensors of the newest are others; CONFIG_CONFLICT when it
 *   belongs to another run.
 */
export function loadTrainingState(directory: string, state: TrainingState): RestoredCheckpoint | undefined {
  const checkpoint = loadCheckpoint(directory);
  if (checkpoint === undefined) return undefined;
  demandSameRun(checkpoint, state.identity);
  const tensors = logicalTensors(state);
  demandSameTensors(checkpoint, tensors);
  for (const { name, slot, slices } of tensors) {
    state.memory.fill(slot, storedSource(checkpoint.read(name)), slices);
  }
  const notes = loadErrors(checkpoint, state.errors, ownSlots(state));
  const replicas = loadReplicas(checkpoint, state.replicas, ownSlots(state));
  const random = checkpoint.state.random[randomName(state.group.rank)];
  if (random !== undefined) setRandomState(random, state.device);
  const extra = { ...checkpoint.state.extra, ...replicas.extra };
  return {
    ...checkpoint,
    state: { ...checkpoint.state, extra },
    notes: [...notes, ...replicas.notes],
  };
}

/**
 * The checkpoint's tensors must be exactly those of this run, each of its shape.
 *
 * @throws TrainyardError CHECKPOINT_INVALID naming the first that is not
 */
function demandSameTensors(checkpoint: LoadedCheckpoint, tensors: readonly LogicalTensor[]): void {
  const known = new Set(tensors.map(({ name }) => name));
  for (const name of checkpoint.names) {
    const isExtra = isErrorTensor(name) || isReplicaTensor(name);
    if (!known.has(name) && !isExtra) throw otherTensors(checkpoint, 'no such tensor', name);
  }
  const saved = new Set(checkpoint.names);
  for (const { name, slot } of tensors) {
    const expected = `${name} [${slot.shape.join(', ')}]`;
    if (!saved.has(name)) throw otherTensors(checkpoint, expected, 'no such tensor');
    const { shape } = checkpoint.read(name);
    if (shape.join() !== slot.shape.join()) {
      throw otherTensors(checkpoint, expected, `${name} [${shape.join(', ')}]`);
    }
  }
}

function otherTensors({ tag }: LoadedCheckpoint, expected: string, got: string): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: 'The checkpoint holds the tensors of another model or optimizer.',
    where: tag,
    expected,
    got,
    cure: 'Resume with the model and the optimizer it was made with, or begin a new run with another output.',
  });
}

interface LogicalTensor {
  readonly name: string;
  readonly slot: LogicalParameter;
  /** This rank's part of it and of all that is laid out with it. */
  readonly slices: readonly FlatSlice[];
}

/**
 * Parameters under their own names, moments under "optimizer.<state>.<parameter>". What is frozen is as it was in
 * the model that the run began with.
 */
function logicalTensors(state: TrainingState): readonly LogicalTensor[] {
  const { memory, optimizer } = state;
  const trained = trainedSlots(state);
  const values = trained.map((slot) => ({ name: slot.name, slot, slices: memory.weights }));
  const moments = [...optimizer.states].flatMap(([state, slices]) =>
    trained.map((slot) => ({ name: `optimizer.${state}.${slot.name}`, slot, slices })),
  );
  return [...values, ...moments];
}

function trainedSlots({ memory }: TrainingState): readonly LogicalParameter[] {
  return memory.slots.filter(({ trainable }) => trainable);
}

/** Messages with errors that are kept are those of ranks with the whole model. */
function ownSlots({ memory }: TrainingState): TrainingMemory['ownSlots'] {
  return memory.ownSlots.filter(({ trainable }) => trainable);
}

function randomName(rank: number): string {
  return `rank ${rank}`;
}

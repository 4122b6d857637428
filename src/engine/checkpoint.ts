import { TrainyardError } from '../base/errors.js';
import type { JsonObject, JsonValue } from '../base/json-document.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { OptimizerGroup } from '../optim/optimizer-group.js';
import { openCandidate, verify } from '../store/checkpoint/read.js';
import type { PieceSource } from '../store/checkpoint/write.js';
import {
  type CheckpointsToTry,
  checkpointsToTry,
  damageOf,
  firstUsable,
  type LoadedCheckpoint,
  type RunState,
} from '../store/checkpoint.js';
import type { Device } from '../tensor/dtype.js';
import { randomState, setRandomState } from '../tensor/random.js';
import type { Tensor } from '../tensor/tensor.js';
import { type ErrorState, errorPieces, errorsToSave, isErrorTensor, loadErrors } from './error-checkpoint.js';
import { savedSource } from './fill-parameters.js';
import { gatherBytes, gatherText } from './gather-bytes.js';
import {
  isReplicaTensor,
  loadReplicas,
  type ReplicaState,
  replicaPieces,
  replicasToSave,
} from './replica-checkpoint.js';
import { demandSameRun, identityToSave, type RunIdentity } from './run-identity.js';
import type { LogicalParameter, TrainingMemory } from './training-memory.js';

/** What a checkpoint saves and restores on one rank. */
export interface TrainingState {
  readonly memory: TrainingMemory;
  readonly optimizer: OptimizerGroup;
  readonly group: ProcessGroup;
  readonly device: Device;
  readonly seed: number;
  /** Sequences in a global batch: with the number of steps it tells how much of the data was used. */
  readonly batchSize: number;
  readonly identity: RunIdentity;
  /** The configuration of the model in Hugging Face's fields. */
  readonly model: JsonObject;
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
 * Where the run stands, beside its tensors. Every rank must call it: each knows its own random state.
 *
 * @param steps done
 */
export function runStateOf(state: TrainingState, steps: number): RunState {
  const random = gatherBytes(state.group, randomState(state.device));
  return {
    step: steps,
    data: { seed: state.seed, position: steps * state.batchSize },
    random: Object.fromEntries(random.map((bytes, rank) => [randomName(rank), bytes])),
    model: state.model,
    extra: {
      ...state.extra,
      ...identityToSave(state.identity),
      ...(state.errors && errorsToSave(state.errors)),
      ...(state.replicas && replicasToSave(state.replicas, state.extra)),
    },
  };
}

/**
 * What this rank writes: of parameters, optimizer states and errors, as logical tensors under Hugging Face names, what it
 * has and no earlier rank has as well. Each piece is read when its turn comes, a little at a time.
 */
export function piecesToSave(state: TrainingState): readonly PieceSource[] {
  const { memory, errors, replicas } = state;
  const shared =
    replicas === undefined
      ? logicalTensors(state).flatMap(({ name, slot, slices }) => memory.ownPieces(name, slot, slices))
      : replicaPieces(replicas, ownSlots(state));
  return [...shared, ...(errors === undefined ? [] : errorPieces(errors, ownSlots(state)))];
}

/** How long ranks may be apart when they look through a checkpoint: the deadline of collectives is no measure for disks. */
const LONGEST_READ_MS = 60 * 60 * 1000;

/**
 * Restores the newest whole checkpoint of `directory`; undefined when there is none. Every rank must call it: the files
 * are looked through by all ranks together, each reads what it has memory for, and all take the same checkpoint.
 *
 * @throws TrainyardError CHECKPOINT_INVALID when none is whole, or the tensors of the newest are others; CONFIG_CONFLICT when it
 *   belongs to another run.
 */
export function loadTrainingState(
  directory: string,
  state: TrainingState,
  tag?: string,
): RestoredCheckpoint | undefined {
  const checkpoint = openTogether(directory, state.group, tag);
  if (checkpoint === undefined) return undefined;
  demandSameRun(checkpoint, state.identity);
  const tensors = logicalTensors(state);
  const isImported = demandSameTensors(checkpoint, tensors);
  for (const { name, slot, slices } of tensors) {
    if (checkpoint.names.includes(name)) state.memory.fill(slot, savedSource(checkpoint.read(name)), slices);
  }
  const notes = [
    ...(isImported ? ['the checkpoint was imported without optimizer states: they begin anew'] : []),
    ...loadErrors(checkpoint, state.errors, ownSlots(state)),
  ];
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

function openTogether(
  directory: string,
  group: ProcessGroup,
  tag: string | undefined,
): LoadedCheckpoint | undefined {
  const patient = group.withDeadline(LONGEST_READ_MS);
  try {
    return firstUsable(directory, agreeOnCandidates(directory, patient, tag), (candidate) => {
      const [damage] = gatherText(patient, damageIn(candidate, group) ?? '').filter((text) => text !== '');
      return damage;
    });
  } finally {
    patient.close();
  }
}

/** Each rank looks through as many files as any other: its own ones, where the layout is that of the checkpoint. */
function damageIn(
  candidate: CheckpointsToTry['candidates'][number],
  { rank, worldSize }: ProcessGroup,
): string | undefined {
  try {
    verify(candidate, (file) => file % worldSize === rank);
    return undefined;
  } catch (error) {
    return damageOf(error);
  }
}

/** Rank 0 looks into the folder, so that all try the same checkpoints in the same order. */
function agreeOnCandidates(
  directory: string,
  group: ProcessGroup,
  tag: string | undefined,
): CheckpointsToTry {
  const own = group.rank === 0 ? checkpointsToTry(directory, tag) : undefined;
  const places = own?.candidates.map(({ folder, tag }) => ({ folder, tag })) ?? [];
  const [said = '[]'] = gatherText(group, JSON.stringify(places));
  if (own !== undefined) return own;
  const named = JSON.parse(said) as readonly { readonly folder: string; readonly tag: string }[];
  return { wanted: tag, candidates: named.map(({ folder, tag }) => openCandidate(folder, tag)) };
}

/** In `extra` of a checkpoint that was made of a model without any states of an optimizer. */
export const MODEL_ALONE = 'model_alone';

/**
 * The checkpoint's tensors must be exactly those of this run, each of its shape, but that one of a model alone lacks
 * the optimizer's.
 *
 * @returns whether it is the model alone
 * @throws TrainyardError CHECKPOINT_INVALID naming the first that is not
 */
function demandSameTensors(checkpoint: LoadedCheckpoint, tensors: readonly LogicalTensor[]): boolean {
  const known = new Set(tensors.map(({ name }) => name));
  for (const name of checkpoint.names) {
    const isExtra = isErrorTensor(name) || isReplicaTensor(name);
    if (!known.has(name) && !isExtra) throw otherTensors(checkpoint, 'no such tensor', name);
  }
  const saved = new Set(checkpoint.names);
  const isModelAlone = checkpoint.state.extra[MODEL_ALONE] === true;
  for (const { name, slot } of tensors) {
    if (isModelAlone && isOptimizerTensor(name)) continue;
    const expected = `${name} [${slot.shape.join(', ')}]`;
    if (!saved.has(name)) throw otherTensors(checkpoint, expected, 'no such tensor');
    const { shape } = checkpoint.read(name);
    if (shape.join() !== slot.shape.join()) {
      throw otherTensors(checkpoint, expected, `${name} [${shape.join(', ')}]`);
    }
  }
  return isModelAlone && [...known].some(isOptimizerTensor);
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
  readonly slices: readonly Tensor[];
}

const OPTIMIZER = 'optimizer.';

/** Under which name a checkpoint has an optimizer's state of a parameter. */
export function optimizerTensor(state: string, parameter: string): string {
  return `${OPTIMIZER}${state}.${parameter}`;
}

/** Whether a tensor of a checkpoint is a state of the optimizer. */
export function isOptimizerTensor(name: string): boolean {
  return name.startsWith(OPTIMIZER);
}

/**
 * Parameters under their own names, moments under "optimizer.<state>.<parameter>". What is frozen is as it was in
 * the model that the run began with.
 */
function logicalTensors(state: TrainingState): readonly LogicalTensor[] {
  const { memory, optimizer } = state;
  const trained = memory.slots.filter(({ trainable }) => trainable);
  const values = trained.map((slot) => ({ name: slot.name, slot, slices: memory.owned.values }));
  const moments = [...optimizer.states].flatMap(([state, slices]) =>
    trained.map((slot) => ({ name: optimizerTensor(state, slot.name), slot, slices })),
  );
  return [...values, ...moments];
}

/** Messages with errors that are kept are those of ranks with the whole model. */
function ownSlots({ memory }: TrainingState): TrainingMemory['ownSlots'] {
  return memory.ownSlots.filter(({ trainable }) => trainable);
}

function randomName(rank: number): string {
  return `rank ${rank}`;
}

import { TrainyardError } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { FlatSlot } from '../nn/flat-layout.js';
import type { OptimizerGroup } from '../optim/optimizer-group.js';
import { type LoadedCheckpoint, loadCheckpoint, saveCheckpoint } from '../store/checkpoint.js';
import { fromBytes } from '../tensor/create.js';
import type { Device } from '../tensor/dtype.js';
import { randomState, setRandomState } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { collectTensors } from './collect-tensors.js';
import { gatherBytes } from './gather-bytes.js';
import type { TrainingMemory } from './training-memory.js';

/** What a checkpoint saves and restores on one rank. */
export interface TrainingState {
  readonly memory: TrainingMemory;
  readonly optimizer: OptimizerGroup;
  readonly group: ProcessGroup;
  readonly device: Device;
  readonly seed: number;
  /** Sequences in a global batch: with the number of steps it tells how much of the data was used. */
  readonly batchSize: number;
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
  const { dtype } = memory.parameters.values;
  const tensors = logicalTensors(state).map(({ name, slot, slices }) => ({
    name,
    dtype,
    shape: slot.shape,
    read: () => memory.read(slot, slices),
  }));
  const folder = collectTensors(state.group, tensors, (sources) =>
    saveCheckpoint(directory, {
      state: {
        step: steps,
        data: { seed: state.seed, position: steps * state.batchSize },
        random: Object.fromEntries(random.map((bytes, rank) => [randomName(rank), bytes])),
        extra: { train_batch_size: state.batchSize },
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
 * @throws TrainyardError CHECKPOINT_INVALID when none is whole, or it belongs to another model or run.
 */
export function loadTrainingState(directory: string, state: TrainingState): LoadedCheckpoint | undefined {
  const checkpoint = loadCheckpoint(directory);
  if (checkpoint === undefined) return undefined;
  demandSameData(checkpoint, state);
  for (const { name, slot, slices } of logicalTensors(state)) {
    const { bytes, dtype } = checkpoint.read(name);
    scope(() => state.memory.write(slot, fromBytes(bytes, slot.shape, dtype), slices));
  }
  const random = checkpoint.state.random[randomName(state.group.rank)];
  if (random !== undefined) setRandomState(random, state.device);
  return checkpoint;
}

/** With another batch size or seed, the steps done would not say which data was used. */
function demandSameData({ tag, state: saved }: LoadedCheckpoint, state: TrainingState): void {
  const expected = `train_batch_size ${saved.extra.train_batch_size} and seed ${saved.data.seed}`;
  const got = `train_batch_size ${state.batchSize} and seed ${state.seed}`;
  if (expected === got) return;
  throw new TrainyardError('CHECKPOINT_INVALID', {
    what: 'The checkpoint was made with another order of the data.',
    where: tag,
    expected,
    got,
    cure: 'resume with the settings it was made with, or start from its exported model instead',
  });
}

interface LogicalTensor {
  readonly name: string;
  readonly slot: FlatSlot;
  /** This rank's part of it and of all that is laid out with it. */
  readonly slices: readonly Tensor[];
}

/** Parameters under their own names, moments under "optimizer.<state>.<parameter>". */
function logicalTensors({ memory, optimizer }: TrainingState): readonly LogicalTensor[] {
  const values = memory.slots.map((slot) => ({ name: slot.name, slot, slices: memory.owned.values }));
  const trained = memory.slots.filter(({ trainable }) => trainable);
  const moments = [...optimizer.states].flatMap(([state, slices]) =>
    trained.map((slot) => ({ name: `optimizer.${state}.${slot.name}`, slot, slices })),
  );
  return [...values, ...moments];
}

function randomName(rank: number): string {
  return `rank ${rank}`;
}

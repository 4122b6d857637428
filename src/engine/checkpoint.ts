import { TrainyardError } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { FlatSlot } from '../nn/flat-layout.js';
import type { FlatParameters } from '../nn/flat-parameters.js';
import type { Optimizer } from '../optim/optimizer.js';
import { type LoadedCheckpoint, loadCheckpoint, saveCheckpoint } from '../store/checkpoint.js';
import type { TensorSource } from '../store/safetensors/write.js';
import { noGrad } from '../tensor/autograd.js';
import { fromBytes } from '../tensor/create.js';
import type { Device } from '../tensor/dtype.js';
import { randomState, setRandomState } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { gatherBytes } from './gather-bytes.js';

/** What a checkpoint saves and restores on one rank. */
export interface TrainingState {
  readonly parameters: FlatParameters;
  readonly optimizer: Optimizer;
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
  const folder =
    state.group.rank === 0
      ? saveCheckpoint(directory, {
          state: {
            step: steps,
            data: { seed: state.seed, position: steps * state.batchSize },
            random: Object.fromEntries(random.map((bytes, rank) => [randomName(rank), bytes])),
            extra: { train_batch_size: state.batchSize },
          },
          tensors: tensorSources(state),
        })
      : undefined;
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
  for (const { name, target } of logicalTensors(state)) {
    const { bytes, shape, dtype } = checkpoint.read(name);
    noGrad(() => scope(() => target.copy_(fromBytes(bytes, shape, dtype).view(target.shape))));
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
  readonly target: Tensor;
  readonly shape: readonly number[];
}

/** Parameters under their own names, moments under "optimizer.<state>.<parameter>". */
function* logicalTensors({ parameters, optimizer }: TrainingState): Generator<LogicalTensor> {
  for (const { name, value } of parameters.parameters) yield { name, target: value, shape: value.shape };
  const owners = parameters.layout.blocks.flat().filter(({ name, owner }) => name === owner);
  for (const [stateName, flat] of optimizer.states) {
    for (const slot of owners.filter(({ trainable }) => trainable)) {
      yield { name: `optimizer.${stateName}.${slot.name}`, target: part(flat, slot), shape: slot.shape };
    }
  }
}

function* tensorSources(state: TrainingState): Generator<TensorSource> {
  for (const { name, target, shape } of logicalTensors(state)) {
    const { dtype } = target;
    yield { name, dtype, shape, write: (bytes) => target.copyToBytes(bytes) };
  }
}

function part(flat: Tensor, { offset, elements, shape }: FlatSlot): Tensor {
  return noGrad(() => flat.narrow(0, offset, elements).view(shape));
}

function randomName(rank: number): string {
  return `rank ${rank}`;
}

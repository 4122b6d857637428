import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { TrainyardError } from '../../base/errors.js';
import type { LoadedCheckpoint, SavedTensor } from '../../store/checkpoint.js';
import { CONFIG_FILE } from '../../store/hugging-face/file-names.js';
import { openModelFolder } from '../../store/hugging-face/model-folder.js';
import { saveModelFolder } from '../../store/hugging-face/save-model-folder.js';
import type { TensorSource } from '../../store/safetensors/write.js';
import { noGrad } from '../../tensor/autograd.js';
import { fromBytes } from '../../tensor/create.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { scope } from '../../tensor/tensor.js';
import { isOptimizerTensor } from '../checkpoint.js';
import { isErrorTensor } from '../error-checkpoint.js';
import { isReplicaTensor } from '../replica-checkpoint.js';
import { openCheckpointAt, placeOfCheckpoints } from './open.js';

export interface ExportOptions {
  /** A run's output, a folder of checkpoints, or one checkpoint. */
  readonly from: string;
  readonly output: string;
  /** Of the weights in the folder. */
  readonly dtype: DType;
}

/**
 * Writes the model of a checkpoint as a Hugging Face folder, whatever layout it was saved in, a few MiB at a time. The
 * tokenizer is that of the run's output folder, if it is there already.
 *
 * @returns the checkpoint's name and the number of tensors
 * @throws TrainyardError CHECKPOINT_INVALID, OUTPUT_UNWRITABLE; USAGE for a checkpoint of an adapter
 */
export function exportCheckpoint({ from, output, dtype }: ExportOptions): {
  readonly tag: string;
  readonly tensors: number;
} {
  const checkpoint = openCheckpointAt(from);
  const { model } = checkpoint.state;
  if (model === null || hasAdapter(checkpoint)) throw noModel(checkpoint, from);
  const names = checkpoint.names.filter((name) => !isOfTraining(name));
  const tensors = names.map((name) => converted(name, checkpoint.read(name), dtype));
  saveModelFolder(output, {
    config: { ...model, dtype, torch_dtype: dtype },
    tensors,
    companionFiles: companionsBeside(placeOfCheckpoints(from).directory),
  });
  return { tag: checkpoint.tag, tensors: names.length };
}

/** What only training needs. */
function isOfTraining(name: string): boolean {
  return isOptimizerTensor(name) || isErrorTensor(name) || isReplicaTensor(name);
}

function converted(name: string, saved: SavedTensor, dtype: DType): TensorSource {
  const size = DTYPES[dtype].bytes;
  const read = (target: Uint8Array, offset: number): void => {
    const count = target.length / size;
    const bytes = saved.bytes(offset / size, count);
    if (saved.dtype === dtype) target.set(bytes);
    else {
      noGrad(() => scope(() => fromBytes(bytes, [count], saved.dtype).to(dtype).copyToBytes(target)));
    }
  };
  return { name, dtype, shape: saved.shape, read };
}

function hasAdapter({ state: { extra } }: LoadedCheckpoint): boolean {
  const { settings } = extra;
  const isRecord = typeof settings === 'object' && settings !== null && !Array.isArray(settings);
  const adapter = isRecord && 'adapter' in settings ? settings.adapter : 'none';
  return adapter !== 'none';
}

function noModel({ tag }: LoadedCheckpoint, from: string): TrainyardError {
  return new TrainyardError('USAGE', {
    what: 'The checkpoint does not hold a whole model.',
    where: `${from}, ${tag}`,
    expected: 'the checkpoint of a run that trained a model, with its configuration',
    got: 'the matrices of an adapter, or tensors that were imported without a configuration',
    cure: "Use the adapter in the run's output folder (trainyard merge), or import again with --model.",
  });
}

/** The tokenizer and what else lies beside the model that the run has written, if it has come to that. */
function companionsBeside(directory: string): ReadonlyMap<string, string> {
  const output = dirname(directory);
  return existsSync(join(output, CONFIG_FILE)) ? openModelFolder(output).companionFiles : new Map();
}

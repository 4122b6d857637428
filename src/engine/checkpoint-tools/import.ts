import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { TrainyardError } from '../../base/errors.js';
import type { JsonObject } from '../../base/json-document.js';
import type { RawConfig } from '../../models/config-fields.js';
import { configToSave, modelFromConfig } from '../../models/registry.js';
import type { PieceSource } from '../../store/checkpoint/write.js';
import { type RunState, saveCheckpoint } from '../../store/checkpoint.js';
import { isFolder } from '../../store/file-system.js';
import { CONFIG_FILE } from '../../store/hugging-face/file-names.js';
import { openModelFolder, type StoredTensor } from '../../store/hugging-face/model-folder.js';
import { engineDtypeOf } from '../../store/safetensors/dtype.js';
import { openSafetensors } from '../../store/safetensors.js';
import { noGrad } from '../../tensor/autograd.js';
import { fromBytes } from '../../tensor/create.js';
import { DTYPES } from '../../tensor/dtype.js';
import { scope } from '../../tensor/tensor.js';
import { MODEL_ALONE, optimizerTensor } from '../checkpoint.js';
import { checkpointsIn } from '../checkpoints-in.js';
import { storedParameters } from '../fill-parameters.js';

export interface ImportOptions {
  /** A Hugging Face folder, or DeepSpeed's universal checkpoint with its tensors as safetensors files. */
  readonly from: string;
  /** The output folder of the run that is to go on from it. */
  readonly output: string;
  /** Of a universal checkpoint: the folder with the model's config.json. */
  readonly model?: string | undefined;
  /** Of a universal checkpoint: the optimizer steps that were done; left out: what its `step` files say. */
  readonly step?: number | undefined;
}

/**
 * Makes a checkpoint of a model that was trained elsewhere, for `train --resume`.
 *
 * @returns the checkpoint's folder
 * @throws TrainyardError MODEL_UNREADABLE, SAFETENSORS_INVALID, CHECKPOINT_INVALID, OUTPUT_UNWRITABLE
 */
export function importCheckpoint(options: ImportOptions): string {
  const zero = join(options.from, 'zero');
  const { state, tensors } = isFolder(zero) ? universal(zero, options) : huggingFace(options);
  return saveCheckpoint(checkpointsIn(options.output), { state, tensors });
}

interface Imported {
  readonly state: RunState;
  readonly tensors: readonly PieceSource[];
}

function runState(step: number, model: JsonObject | null, isModelAlone: boolean): RunState {
  const extra = isModelAlone ? { [MODEL_ALONE]: true } : {};
  return { step, data: { seed: 0, position: 0 }, random: {}, model, extra };
}

function huggingFace({ from }: ImportOptions): Imported {
  const folder = openModelFolder(from);
  const model = modelFromConfig(folder.config as RawConfig, join(from, CONFIG_FILE));
  const tensors = [...storedParameters(folder, model)].map(([name, stored]) =>
    asMaster(name, folder.read(stored)),
  );
  return { state: runState(0, configToSave(model, 'float32') as JsonObject, true), tensors };
}

/** Of DeepSpeed's files for one parameter, the ones that a checkpoint of ours has as well. */
const STATES = ['exp_avg', 'exp_avg_sq', 'momentum_buffer'] as const;
const VALUES = 'fp32';
const STEP = 'step';

function universal(zero: string, { model, step }: ImportOptions): Imported {
  const names = readdirSync(zero, { withFileTypes: true }).flatMap((each) =>
    each.isDirectory() ? [each.name] : [],
  );
  const tensors: PieceSource[] = [];
  const steps = new Set<number>(step === undefined ? [] : [step]);
  for (const name of names.sort()) {
    const folder = join(zero, name);
    const files = new Set(readdirSync(folder));
    const parameter = name.replace(/^module\./, '');
    const has = (what: string): boolean => files.has(`${what}.safetensors`);
    if (!has(VALUES)) throw notConverted(folder, [...files]);
    tensors.push(asMaster(parameter, onlyTensor(folder, VALUES)));
    for (const each of STATES.filter(has)) {
      tensors.push(asMaster(optimizerTensor(each, parameter), onlyTensor(folder, each)));
    }
    if (step === undefined && has(STEP)) steps.add(numberIn(onlyTensor(folder, STEP)));
  }
  const [done] = steps;
  if (done === undefined || steps.size > 1) throw stepUnknown(zero, [...steps]);
  const config = model === undefined ? null : modelConfig(model);
  return { state: runState(done, config, false), tensors };
}

function modelConfig(path: string): JsonObject {
  const { config } = openModelFolder(path);
  return configToSave(modelFromConfig(config as RawConfig, join(path, CONFIG_FILE)), 'float32') as JsonObject;
}

function onlyTensor(folder: string, state: string): StoredTensor {
  const path = join(folder, `${state}.safetensors`);
  const file = openSafetensors(path);
  const [name, ...others] = file.names;
  const entry = name === undefined || others.length > 0 ? undefined : file.entry(name);
  const dtype = entry && engineDtypeOf(entry.dtype);
  if (name === undefined || entry === undefined || dtype === undefined) {
    throw new TrainyardError('CHECKPOINT_INVALID', {
      what: 'A file of a universal checkpoint cannot be used.',
      where: path,
      expected: 'one tensor, of an element type that Trainyard has',
      got: `${file.names.length} tensors${entry === undefined ? '' : `, ${entry.dtype}`}`,
    });
  }
  return { dtype, shape: entry.shape, bytes: file.bytes(name) };
}

function numberIn({ bytes, dtype }: StoredTensor): number {
  return scope(() => Number(fromBytes(bytes, [], dtype).to('float64').toArray()[0]));
}

/** A tensor in fp32, as weights and states are kept; converted a few MiB at a time. */
function asMaster(name: string, { dtype, shape, bytes }: StoredTensor): PieceSource {
  const size = DTYPES[dtype].bytes;
  const elements = bytes.length / size;
  const read = (target: Uint8Array, from: number): void => {
    const count = target.length / DTYPES.float32.bytes;
    const part = bytes.subarray(from * size, (from + count) * size);
    if (dtype === 'float32') target.set(part);
    else noGrad(() => scope(() => fromBytes(part, [count], dtype).to('float32').copyToBytes(target)));
  };
  return { name, dtype: 'float32', shape, start: 0, elements, read };
}

function notConverted(folder: string, files: readonly string[]): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: 'The universal checkpoint has not been converted: pickle files are never read.',
    where: folder,
    expected: `${VALUES}.safetensors`,
    got: files.slice(0, 5).join(', ') || 'nothing',
    cure: 'Convert the .pt files to safetensors with Python, as docs/checkpoints.md shows.',
  });
}

function stepUnknown(zero: string, steps: readonly number[]): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: 'How many steps a universal checkpoint has done is not known.',
    where: zero,
    expected: 'the same number in every step.safetensors, or --step',
    got: steps.length === 0 ? 'no step.safetensors' : steps.join(', '),
    cure: 'Say it: --step 1000.',
  });
}

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import { openAdapterFolder } from '../store/hugging-face/adapter-folder.js';
import { ADAPTER_CONFIG_FILE, CONFIG_FILE } from '../store/hugging-face/file-names.js';
import { type ModelSource, openModel } from './model-source.js';

/** Whether a folder holds an adapter and not a model. */
export function isAdapterFolder(path: string): boolean {
  return existsSync(join(path, ADAPTER_CONFIG_FILE)) && !existsSync(join(path, CONFIG_FILE));
}

/**
 * A model with an adapter of PEFT's layout.
 *
 * @param base the model's folder; left out: the one that the adapter names, as seen from the working directory
 * @throws TrainyardError USAGE without a base; MODEL_UNREADABLE, MODEL_UNSUPPORTED, SAFETENSORS_INVALID
 */
export function openAdaptedFolder(path: string, base?: string): ModelSource {
  const named = base ?? openAdapterFolder(path).config.base_model_name_or_path;
  if (typeof named !== 'string' || !existsSync(resolve(named))) {
    throw new TrainyardError('USAGE', {
      what: 'The model that the adapter was made for is not here.',
      where: base === undefined ? join(path, ADAPTER_CONFIG_FILE) : '--model',
      expected: 'the folder of a model',
      got: typeof named === 'string' ? named : 'none',
      cure: 'Fetch the model, and name its folder: `trainyard merge ADAPTER --model FOLDER --output FOLDER`.',
    });
  }
  return openModel({ model: named, adapter: { type: 'lora', path: resolve(path), merge: true } });
}

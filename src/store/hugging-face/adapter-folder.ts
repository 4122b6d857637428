import { join } from 'node:path';
import { quote } from '../../base/printable.js';
import { engineDtypeOf } from '../safetensors/dtype.js';
import { openSafetensors, type SafetensorsFile } from '../safetensors.js';
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE } from './file-names.js';
import { fileInFolder, modelFiles, modelUnreadable } from './folder-file.js';
import type { StoredTensor } from './model-folder.js';
import { readJsonObject } from './read-json.js';

const CURE = `Give a folder in PEFT's layout: ${ADAPTER_CONFIG_FILE} beside ${ADAPTER_WEIGHTS_FILE}.`;

/**
 * Opens an adapter in PEFT's layout. The header is checked now; no tensor is read.
 *
 * @throws TrainyardError MODEL_UNREADABLE, SAFETENSORS_INVALID
 */
export function openAdapterFolder(path: string): AdapterFolder {
  const files = modelFiles(path);
  const config = fileInFolder(files, ADAPTER_CONFIG_FILE);
  const weights = fileInFolder(files, ADAPTER_WEIGHTS_FILE);
  if (config === undefined || weights === undefined) {
    const missing = config === undefined ? ADAPTER_CONFIG_FILE : ADAPTER_WEIGHTS_FILE;
    throw modelUnreadable('The adapter folder is not complete.', join(path, missing), { cure: CURE });
  }
  return new AdapterFolder(
    files.path,
    readJsonObject(config),
    openSafetensors(weights, { followLink: false }),
  );
}

/** An adapter on disk: its configuration as it is written there, and its matrices by name. */
export class AdapterFolder {
  readonly #weights: SafetensorsFile;

  constructor(
    /** The folder's real path. */
    readonly path: string,
    readonly config: Readonly<Record<string, unknown>>,
    weights: SafetensorsFile,
  ) {
    this.#weights = weights;
  }

  get configPath(): string {
    return join(this.path, ADAPTER_CONFIG_FILE);
  }

  get names(): readonly string[] {
    return this.#weights.names;
  }

  shapeOf(name: string): readonly number[] {
    return this.#weights.entry(name).shape;
  }

  /** @throws TrainyardError MODEL_UNREADABLE for an element type that the tensor engine has none of */
  read(name: string): StoredTensor {
    const { dtype: stored, shape } = this.#weights.entry(name);
    const dtype = engineDtypeOf(stored);
    if (dtype !== undefined) return { dtype, shape, bytes: this.#weights.bytes(name) };
    throw modelUnreadable(
      'A tensor has an element type that cannot be loaded.',
      `${this.#weights.path}, tensor ${quote(name)}`,
      { got: stored, cure: 'Convert the adapter to F32, BF16 or F16.' },
    );
  }
}

import { join } from 'node:path';
import { nearestNames } from '../../base/nearest-names.js';
import { quote } from '../../base/printable.js';
import type { DType } from '../../tensor/dtype.js';
import { engineDtypeOf } from '../safetensors/dtype.js';
import type { SafetensorsFile } from '../safetensors.js';
import { COMPANION_FILES, CONFIG_FILE, TOKENIZER_FILE } from './file-names.js';
import { fileInFolder, type ModelFiles, modelFiles, modelUnreadable } from './folder-file.js';
import { readJsonObject } from './read-json.js';
import { openWeightFiles } from './weight-files.js';

/** Where a stored tensor lies in a file. */
export interface StoredPlace {
  readonly path: string;
  readonly byteOffset: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** A stored tensor: little-endian bytes in C order, zero-copy (see `SafetensorsFile.bytes`). */
export interface StoredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/**
 * Opens a model in Hugging Face's layout. Every header and the index are checked now; no tensor is read.
 *
 * @throws TrainyardError MODEL_UNREADABLE, SAFETENSORS_INVALID
 */
export function openModelFolder(path: string): ModelFolder {
  const files = modelFiles(path);
  const config = fileInFolder(files, CONFIG_FILE);
  if (config === undefined) {
    throw modelUnreadable('The model folder has no configuration.', join(path, CONFIG_FILE));
  }
  return new ModelFolder(files, readJsonObject(config), openWeightFiles(files));
}

/** A model on disk: its configuration as it is written there, and its tensors by name. */
export class ModelFolder {
  readonly #files: ModelFiles;
  readonly #tensors: ReadonlyMap<string, SafetensorsFile>;

  constructor(
    files: ModelFiles,
    readonly config: Readonly<Record<string, unknown>>,
    tensors: ReadonlyMap<string, SafetensorsFile>,
  ) {
    this.#files = files;
    this.#tensors = tensors;
  }

  /** The folder's real path. */
  get path(): string {
    return this.#files.path;
  }

  /** The names of all stored tensors. */
  get names(): readonly string[] {
    return [...this.#tensors.keys()];
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** @throws TrainyardError MODEL_UNREADABLE when there is no such tensor */
  shapeOf(name: string): readonly number[] {
    return this.#fileOf(name).entry(name).shape;
  }

  /**
   * @throws TrainyardError MODEL_UNREADABLE when there is no such tensor, or it has an element type that the
   * tensor engine has none of
   */
  read(name: string): StoredTensor {
    const { shape, dtype } = this.placeOf(name);
    return { dtype, shape, bytes: this.#fileOf(name).bytes(name) };
  }

  /**
   * Where a tensor is stored, to be mapped from there.
   *
   * @throws TrainyardError MODEL_UNREADABLE as `read`
   */
  placeOf(name: string): StoredPlace {
    const file = this.#fileOf(name);
    const entry = file.entry(name);
    const dtype = engineDtypeOf(entry.dtype);
    if (dtype === undefined) {
      throw modelUnreadable('A tensor has an element type that cannot be loaded.', tensorPlace(file, name), {
        got: entry.dtype,
        cure: 'Convert the weights to F32, BF16 or F16.',
      });
    }
    return { path: file.path, byteOffset: entry.byteOffset, shape: entry.shape, dtype };
  }

  /** The folder's tokenizer.json, if there is one. */
  get tokenizerPath(): string | undefined {
    return this.companionFiles.get(TOKENIZER_FILE);
  }

  /** The files that belong to the model besides configuration and weights: their paths by their names. */
  get companionFiles(): ReadonlyMap<string, string> {
    const found = COMPANION_FILES.map((name) => [name, fileInFolder(this.#files, name)] as const);
    return new Map(found.flatMap(([name, path]) => (path === undefined ? [] : [[name, path]])));
  }

  #fileOf(name: string): SafetensorsFile {
    const file = this.#tensors.get(name);
    if (file !== undefined) return file;
    const near = nearestNames(name, this.names);
    throw modelUnreadable('The model folder lacks a tensor.', this.path, {
      expected: quote(name),
      got:
        near.length === 0
          ? 'no tensor of a similar name'
          : `the nearest: ${near.map((each) => quote(each)).join(', ')}`,
    });
  }
}

function tensorPlace(file: SafetensorsFile, name: string): string {
  return `${file.path}, tensor ${quote(name)}`;
}

import { mapConstantFile } from '../../tensor/constant-memory/mapped-file.js';
import type { ConstantMemory } from '../../tensor/constant-memory.js';
import { fromBytes } from '../../tensor/create.js';
import { DTYPES } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { ModelFolder, StoredPlace } from './model-folder.js';

/**
 * Tensors of a model folder over the pages of its files, to be read while this is open. Those that stay keep their
 * file mapped, and count as allocated until then.
 */
export class MappedTensors {
  readonly #folder: ModelFolder;
  /** By path: bytes of the tensors that stay. */
  readonly #staying = new Map<string, number>();
  readonly #files = new Map<string, ConstantMemory>();

  /** @param staying names of tensors that are used after `close` */
  constructor(folder: ModelFolder, staying: readonly string[] = []) {
    this.#folder = folder;
    for (const { path, shape, dtype } of staying.map((name) => folder.placeOf(name))) {
      const bytes = shape.reduce((product, size) => product * size, DTYPES[dtype].bytes);
      this.#staying.set(path, (this.#staying.get(path) ?? 0) + bytes);
    }
  }

  /**
   * A stored tensor: a constant over its file, or a copy where the file has it at an address that is none for its
   * elements.
   *
   * @throws TrainyardError MODEL_UNREADABLE when there is no such tensor
   */
  tensor(name: string): Tensor {
    const place = this.#folder.placeOf(name);
    if (isAligned(place)) {
      return this.#fileAt(place.path).tensor(place.byteOffset, place.shape, place.dtype);
    }
    const { bytes, shape, dtype } = this.#folder.read(name);
    return fromBytes(bytes, shape, dtype);
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }

  #fileAt(path: string): ConstantMemory {
    const file = this.#files.get(path) ?? mapConstantFile(path, this.#staying.get(path) ?? 0);
    this.#files.set(path, file);
    return file;
  }
}

/** Whether elements may begin where the tensor does. */
export function isAligned({ byteOffset, dtype }: Pick<StoredPlace, 'byteOffset' | 'dtype'>): boolean {
  return byteOffset % DTYPES[dtype].bytes === 0;
}

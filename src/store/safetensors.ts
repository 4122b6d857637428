import { TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import { mapFile } from './map-file.js';
import { describeFileError, withOpenFile } from './open-file.js';
import { readHeader, type SafetensorsHeader } from './safetensors/header.js';
import type { RefuseFile, TensorEntry } from './safetensors/tensor-entry.js';

/** Options of `openSafetensors`. */
export interface OpenOptions {
  /** Whether the file itself may be a symbolic link, as in Hugging Face's cache. Default true. */
  readonly followLink?: boolean;
}

/**
 * Opens a safetensors file. Its header is read and every rule of the format checked now; the tensors' bytes
 * are mapped when the first of them is asked for.
 *
 * @throws TrainyardError SAFETENSORS_INVALID, naming the file, the rule and the tensor
 */
export function openSafetensors(path: string, options: OpenOptions = {}): SafetensorsFile {
  const refuse = refusalAt(path);
  try {
    return new SafetensorsFile(
      path,
      withOpenFile(path, (file) => readHeader(file, refuse), options),
    );
  } catch (error) {
    if (error instanceof TrainyardError) throw error;
    return refuse('the file can be read', describeFileError(error));
  }
}

/** A checked safetensors file. Nothing needs closing: the mapping goes when the last view of it does. */
export class SafetensorsFile {
  readonly #header: SafetensorsHeader;
  #content: ArrayBuffer | undefined;

  constructor(
    readonly path: string,
    header: SafetensorsHeader,
  ) {
    this.#header = header;
  }

  /** The tensors' names, in the order of the header. */
  get names(): readonly string[] {
    return [...this.#header.entries.keys()];
  }

  get metadata(): ReadonlyMap<string, string> {
    return this.#header.metadata;
  }

  get byteLength(): number {
    return this.#header.fileBytes;
  }

  has(name: string): boolean {
    return this.#header.entries.has(name);
  }

  /** @throws TrainyardError SAFETENSORS_INVALID when there is no such tensor */
  entry(name: string): TensorEntry {
    const entry = this.#header.entries.get(name);
    return entry ?? refusalAt(this.path)('the file holds the tensor', 'no tensor of this name', name);
  }

  /**
   * A tensor's bytes, little-endian, in C order, without a copy: pages of the file, to be read only. Files not
   * written by us may place them at any address: an element's first byte need not be a multiple of its size.
   *
   * @throws TrainyardError SAFETENSORS_INVALID when there is no such tensor or the file changed meanwhile
   */
  bytes(name: string): Uint8Array {
    const { byteOffset, byteLength } = this.entry(name);
    return this.#view(byteOffset, byteLength, name);
  }

  #view(byteOffset: number, byteLength: number, name: string): Uint8Array {
    try {
      this.#content ??= this.#map();
      return new Uint8Array(this.#content, byteOffset, byteLength);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      const rule = 'a tensor is small enough for one view of its bytes';
      return refusalAt(this.path)(rule, `${byteLength} bytes`, name);
    }
  }

  #map(): ArrayBuffer {
    const content = mapFile(this.path);
    if (content.byteLength !== this.#header.fileBytes) {
      const got = `${content.byteLength} bytes where there were ${this.#header.fileBytes}`;
      refusalAt(this.path)('the file stays as it is while it is read', got);
    }
    return content;
  }
}

/** Reports a broken rule of the format in this file. */
export function refusalAt(path: string): RefuseFile {
  return (rule, got, tensor) => {
    throw new TrainyardError('SAFETENSORS_INVALID', {
      what: 'The safetensors file cannot be used.',
      where: tensor === undefined ? path : `${path}, tensor ${quote(tensor)}`,
      expected: rule,
      ...(got === undefined ? {} : { got }),
      cure: 'Fetch or save the file again; it is damaged, incomplete or of another format.',
    });
  };
}

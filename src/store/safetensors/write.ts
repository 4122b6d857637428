import { invariant } from '../../base/errors.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { createFile, replaceFile, reportingWriteErrors } from '../durable.js';
import { type FileDescriptor, type FileSystem, nodeFileSystem } from '../file-system.js';
import { alignmentRank } from './dtype.js';
import { LENGTH_BYTES, MAXIMUM_HEADER_BYTES } from './header.js';

/** What a tensor is, before its bytes. */
export interface TensorDescription {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Where a tensor's bytes come from when they are written: little-endian, in C order. */
export type TensorContent =
  | { readonly bytes: Uint8Array }
  /** Fills `target`, which has exactly the tensor's size. */
  | { readonly write: (target: Uint8Array) => void }
  /** Fills `target` with the tensor's bytes from `offset` on: a few MiB at a time, whole elements. */
  | { readonly read: (target: Uint8Array, offset: number) => void };

/** A tensor to be written. Its content is asked for when its turn comes, one tensor at a time. */
export type TensorSource = TensorDescription & TensorContent;

/** Called with each tensor's bytes in their order after they were written; they may be overwritten after it returns. */
export type TensorObserver = (source: TensorSource, bytes: Uint8Array) => void;

/** The size of a tensor. */
export function byteLengthOf({ dtype, shape }: TensorDescription): number {
  return shape.reduce((product, size) => product * size, DTYPES[dtype].bytes);
}

/**
 * Writes a safetensors file that replaces the one that may be there when it is complete and on the disk.
 * Memory used: the largest tensor, once, and the descriptions.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE
 */
export function writeSafetensors(
  path: string,
  sources: Iterable<TensorSource>,
  fileSystem: FileSystem = nodeFileSystem,
): void {
  const inOrder = layOut(sources);
  reportingWriteErrors('The safetensors file', path, () => {
    replaceFile(fileSystem, path, (file) => writeContent(fileSystem, file, inOrder));
  });
}

/** A safetensors file as it was written. */
export interface WrittenFile {
  readonly byteLength: number;
  /** All before the tensors' bytes. */
  readonly header: Uint8Array;
}

/** Creates a safetensors file inside a folder that is not published yet, and syncs it. */
export function createSafetensors(
  fileSystem: FileSystem,
  path: string,
  sources: Iterable<TensorSource>,
  observe?: TensorObserver,
): WrittenFile {
  const inOrder = layOut(sources);
  let written: WrittenFile = { byteLength: 0, header: new Uint8Array(0) };
  createFile(fileSystem, path, (file) => {
    written = writeContent(fileSystem, file, inOrder, observe);
  });
  return written;
}

/**
 * The tensors in the order in which the reference implementation writes them: the widest elements first, so
 * that each tensor is aligned, then by name.
 */
function layOut(sources: Iterable<TensorSource>): readonly TensorSource[] {
  const rank = (source: TensorSource): number => alignmentRank(DTYPES[source.dtype].safetensors);
  return [...sources].sort((left, right) => rank(right) - rank(left) || compareBytes(left.name, right.name));
}

function compareBytes(left: string, right: string): number {
  return Buffer.compare(Buffer.from(left), Buffer.from(right));
}

/** Bytes of a tensor that are asked for at once where parts of it can be. */
const READ_TOGETHER = 4 * 1024 * 1024;

function writeContent(
  fileSystem: FileSystem,
  file: FileDescriptor,
  inOrder: readonly TensorSource[],
  observe?: TensorObserver,
): WrittenFile {
  const header = encodeHeader(inOrder);
  fileSystem.write(file, header);
  let byteLength = header.byteLength;
  let scratch = new Uint8Array(0);
  const borrow = (size: number): Uint8Array => {
    if (scratch.length < size) scratch = new Uint8Array(size);
    return scratch.subarray(0, size);
  };
  for (const source of inOrder) {
    const size = byteLengthOf(source);
    let done = 0;
    for (const bytes of chunksOf(source, size, borrow)) {
      fileSystem.write(file, bytes);
      observe?.(source, bytes);
      done += bytes.byteLength;
    }
    invariant(done === size, `${source.name} gave ${done} bytes, not ${size}`);
    byteLength += size;
  }
  return { byteLength, header };
}

function* chunksOf(
  source: TensorSource,
  size: number,
  borrow: (size: number) => Uint8Array,
): Generator<Uint8Array> {
  if (size === 0) return;
  if ('bytes' in source) {
    yield source.bytes;
  } else if ('write' in source) {
    const target = borrow(size);
    source.write(target);
    yield target;
  } else {
    for (let offset = 0; offset < size; offset += READ_TOGETHER) {
      const target = borrow(Math.min(READ_TOGETHER, size - offset));
      source.read(target, offset);
      yield target;
    }
  }
}

/** The header's length and the header, padded with spaces so that the data begin at a multiple of eight. */
function encodeHeader(inOrder: readonly TensorSource[]): Uint8Array {
  const fields = [`"__metadata__":{"format":"pt"}`];
  const names = new Set(['__metadata__']);
  let offset = 0;
  for (const source of inOrder) {
    invariant(!names.has(source.name), `two tensors to be written are named ${source.name}`);
    names.add(source.name);
    const end = offset + byteLengthOf(source);
    const entry = {
      dtype: DTYPES[source.dtype].safetensors,
      shape: source.shape,
      data_offsets: [offset, end],
    };
    fields.push(`${JSON.stringify(source.name)}:${JSON.stringify(entry)}`);
    offset = end;
  }
  const json = Buffer.from(`{${fields.join(',')}}`);
  const padded = Math.ceil(json.byteLength / 8) * 8;
  invariant(padded <= MAXIMUM_HEADER_BYTES, 'one safetensors file was given too many tensors');
  const header = new Uint8Array(LENGTH_BYTES + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, LENGTH_BYTES);
  return header;
}

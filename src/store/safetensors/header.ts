import { quote } from '../../base/printable.js';
import type { OpenFile } from '../open-file.js';
import { type Refuse, StrictJsonReader } from '../strict-json.js';
import { bitsOf, isSafetensorsDtype, type SafetensorsDtype } from './dtype.js';
import { checkLayout } from './layout.js';
import type { RefuseFile, TensorEntry } from './tensor-entry.js';

/** The format's own limit. */
export const MAXIMUM_HEADER_BYTES = 100_000_000;

/** The header's length stands in the first eight bytes. */
export const LENGTH_BYTES = 8;

/** The weight, in bytes, of all names, shapes and metadata that one file may make us hold: about 200,000 tensors. */
const KEEP_BYTES = 64 * 1024 * 1024;
/** An entry's object, offsets and place in the map. */
const ENTRY_OVERHEAD = 192;
/** A number in a growing array. */
const NUMBER_OVERHEAD = 32;

export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly fileBytes: number;
}

/**
 * Reads and checks everything a safetensors file says about itself; its tensors' bytes are not touched.
 * Every rule of https://github.com/huggingface/safetensors#format is enforced, and unknown fields of an entry
 * are refused: they could only mean something that this reader would get wrong.
 */
export function readHeader(file: OpenFile, refuse: RefuseFile): SafetensorsHeader {
  const headerBytes = readHeaderLength(file, refuse);
  const dataStart = LENGTH_BYTES + headerBytes;
  const json = new StrictJsonReader(headerSource(file, dataStart), KEEP_BYTES, (rule, got) =>
    refuse(`in the header, ${rule}`, got),
  );
  const entries = new Map<string, TensorEntry>();
  const metadata = new Map<string, string>();
  json.readObject((name) => {
    if (name === '__metadata__') json.readObject((key) => void metadata.set(key, json.readString()));
    else entries.set(name, readEntry(json, name, dataStart, refuse));
  });
  json.readPadding();
  checkLayout(entries, dataStart, file.bytes, refuse);
  return { entries, metadata, fileBytes: file.bytes };
}

function readHeaderLength(file: OpenFile, refuse: RefuseFile): number {
  const start = new Uint8Array(LENGTH_BYTES + 1);
  const count = file.read(start, 0);
  if (count < LENGTH_BYTES) {
    refuse(`the file begins with the header's length in ${LENGTH_BYTES} bytes`, `${file.bytes} bytes`);
  }
  const length = new DataView(start.buffer).getBigUint64(0, true);
  if (length > BigInt(MAXIMUM_HEADER_BYTES)) {
    refuse(`the header has at most ${MAXIMUM_HEADER_BYTES} bytes`, `${length} bytes announced`);
  }
  if (length > BigInt(file.bytes - LENGTH_BYTES)) {
    refuse('the header lies inside the file', `${length} bytes announced in a file of ${file.bytes}`);
  }
  if (length === 0n || start[LENGTH_BYTES] !== 0x7b) refuse('the header begins with {');
  return Number(length);
}

function headerSource(file: OpenFile, dataStart: number): (window: Uint8Array) => number {
  let position = LENGTH_BYTES;
  return (window) => {
    const wanted = Math.min(window.length, dataStart - position);
    const count = wanted === 0 ? 0 : file.read(window.subarray(0, wanted), position);
    position += count;
    return count;
  };
}

function readEntry(json: StrictJsonReader, name: string, dataStart: number, refuse: RefuseFile): TensorEntry {
  const refuseTensor: Refuse = (rule, got) => refuse(rule, got, name);
  let dtype: SafetensorsDtype | undefined;
  let shape: readonly number[] | undefined;
  let offsets: readonly number[] | undefined;
  json.readObject((field) => {
    if (field === 'dtype') dtype = readDtype(json, refuseTensor);
    else if (field === 'shape') shape = readNumbers(json);
    else if (field === 'data_offsets') offsets = readNumbers(json);
    else refuseTensor('a tensor has the fields dtype, shape and data_offsets, no other', quote(field));
  });
  json.keep(ENTRY_OVERHEAD);
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    return refuseTensor('a tensor has the fields dtype, shape and data_offsets');
  }
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined || offsets.length !== 2) {
    return refuseTensor('data_offsets are two numbers', `${offsets.length} numbers`);
  }
  if (end < begin) refuseTensor('data_offsets begin before they end', `[${begin}, ${end}]`);
  checkSpan(dtype, shape, end - begin, refuseTensor);
  return { dtype, shape, byteOffset: dataStart + begin, byteLength: end - begin };
}

function readDtype(json: StrictJsonReader, refuse: Refuse): SafetensorsDtype {
  const name = json.readString();
  return isSafetensorsDtype(name) ? name : refuse('dtype is one of the types of the format', quote(name));
}

function readNumbers(json: StrictJsonReader): readonly number[] {
  const numbers: number[] = [];
  json.readArray(() => {
    json.keep(NUMBER_OVERHEAD);
    numbers.push(json.readUnsigned());
  });
  return numbers;
}

function checkSpan(dtype: SafetensorsDtype, shape: readonly number[], bytes: number, refuse: Refuse): void {
  let bits = bitsOf(dtype);
  for (const size of shape) {
    bits *= size;
    if (bits > Number.MAX_SAFE_INTEGER)
      refuse('the size of a tensor is at most 2^53 - 1 bits', describe(shape));
  }
  if (bits % 8 !== 0) refuse('a tensor fills whole bytes', `${bits} bits`);
  if (bits / 8 !== bytes) {
    refuse(
      `shape times dtype equals the span of data_offsets`,
      `${dtype} ${describe(shape)} in ${bytes} bytes`,
    );
  }
}

function describe(shape: readonly number[]): string {
  return shape.length > 16 ? `[${shape.slice(0, 16).join(', ')}, …]` : `[${shape.join(', ')}]`;
}

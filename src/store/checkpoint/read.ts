import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { TrainyardError } from '../../base/errors.js';
import { DTYPES } from '../../tensor/dtype.js';
import { replacedName } from '../durable.js';
import { type FileSystem, nodeFileSystem } from '../file-system.js';
import { describeFileError, type OpenFile, UnusableFile } from '../open-file.js';
import { readHeader, type SafetensorsHeader } from '../safetensors/header.js';
import { openSafetensors, refusalAt, type SafetensorsFile } from '../safetensors.js';
import { checksumText } from './checksum.js';
import {
  decodeManifest,
  type FileRecord,
  MANIFEST_FILE,
  type Manifest,
  type PieceRecord,
  type TensorRecord,
} from './manifest.js';
import { pieceName, pieceShape, tilingFault } from './pieces.js';
import { isTag } from './tag.js';

/** Some 3 million pieces. */
const LARGEST_MANIFEST = 512 * 1024 * 1024;

/** A folder that may be a checkpoint. */
export interface Candidate {
  readonly folder: string;
  readonly tag: string;
  /** Undefined, with the reason, where the folder has no readable manifest. */
  readonly manifest: Manifest | undefined;
  readonly reason?: string;
}

/** Why a checkpoint cannot be used. */
export class DamagedCheckpoint extends Error {
  override readonly name = 'DamagedCheckpoint';
}

/** The checkpoints in a directory, the last committed first, those without a readable manifest at the end. */
export function listCandidates(
  directory: string,
  fileSystem: FileSystem = nodeFileSystem,
): readonly Candidate[] {
  const candidates = namesIn(directory, fileSystem).flatMap((name): readonly Candidate[] => {
    const tag = replacedName(name) ?? name;
    const folder = join(directory, name);
    // A link could lead anywhere; only folders of our own are checkpoints.
    if (!isTag(tag) || !fileSystem.isFolder(folder)) return [];
    return [openCandidate(folder, tag, fileSystem)];
  });
  return candidates.sort((left, right) => (right.manifest?.serial ?? -1) - (left.manifest?.serial ?? -1));
}

/** What a folder is that should be the checkpoint of this name. */
export function openCandidate(
  folder: string,
  tag: string,
  fileSystem: FileSystem = nodeFileSystem,
): Candidate {
  try {
    return { folder, tag, manifest: readManifest(fileSystem, folder, tag) };
  } catch (error) {
    return { folder, tag, manifest: undefined, reason: messageOf(error) };
  }
}

/**
 * Checks some parts of a checkpoint byte for byte against its manifest, and the manifest against itself.
 *
 * @param isOwn which of the files; left out: all
 * @throws DamagedCheckpoint naming the file and the tensor
 */
export function verify(
  { folder, manifest, reason }: Candidate,
  isOwn: (index: number) => boolean = () => true,
  fileSystem: FileSystem = nodeFileSystem,
): Manifest {
  if (manifest === undefined) throw new DamagedCheckpoint(reason ?? 'it has no manifest');
  const pieces = piecesByFile(manifest);
  for (const [index, record] of manifest.files.entries()) {
    if (isOwn(index)) verifyPart(fileSystem, folder, record, pieces.get(record.name) ?? []);
  }
  return manifest;
}

/** A piece, and the tensor that it belongs to. */
export interface ExpectedPiece {
  readonly tensor: Pick<TensorRecord, 'name' | 'dtype' | 'shape'>;
  readonly piece: PieceRecord;
}

/** @throws DamagedCheckpoint for a manifest that no save can have written */
function piecesByFile(manifest: Manifest): ReadonlyMap<string, readonly ExpectedPiece[]> {
  const byFile = new Map<string, ExpectedPiece[]>(manifest.files.map(({ name }) => [name, []]));
  if (byFile.size !== manifest.files.length) throw new DamagedCheckpoint('its manifest names a file twice');
  const names = new Set(manifest.tensors.map(({ name }) => name));
  if (names.size !== manifest.tensors.length)
    throw new DamagedCheckpoint('its manifest names a tensor twice');
  for (const tensor of manifest.tensors) {
    const fault = tilingFault(tensor);
    if (fault !== undefined) throw new DamagedCheckpoint(`the tensor ${tensor.name} ${fault}`);
    for (const piece of tensor.pieces) {
      const expected = byFile.get(piece.file);
      if (expected === undefined) throw new DamagedCheckpoint(`its manifest lacks the file ${piece.file}`);
      expected.push({ tensor, piece });
    }
  }
  return byFile;
}

/** Bytes that are checked at once. */
const CHECKED_TOGETHER = 4 * 1024 * 1024;

/**
 * Checks one part byte for byte, without holding more than a few MiB of it.
 *
 * @throws DamagedCheckpoint
 */
export function verifyPart(
  fileSystem: FileSystem,
  folder: string,
  record: FileRecord,
  expected: readonly ExpectedPiece[],
): void {
  readingPart(join(folder, record.name), (path) =>
    fileSystem.open(path, (file) => {
      if (file.bytes !== record.byteLength) {
        throw new DamagedCheckpoint(`${record.name} has ${file.bytes} bytes, not ${record.byteLength}`);
      }
      const header = readHeader(file, refusalAt(path));
      const dataBytes = [...header.entries.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
      const dataStart = file.bytes - dataBytes;
      if (checksumOf(file, 0, dataStart) !== record.headerCrc32) {
        throw new DamagedCheckpoint(`the header of ${record.name} is not what was saved`);
      }
      for (const each of expected) verifyPiece(file, header, record, each);
      if (header.entries.size !== expected.length) {
        throw new DamagedCheckpoint(`${record.name} holds tensors that the manifest does not name`);
      }
    }),
  );
}

function verifyPiece(
  file: OpenFile,
  header: SafetensorsHeader,
  { name: fileName }: FileRecord,
  { tensor, piece }: ExpectedPiece,
): void {
  const entry = header.entries.get(pieceName(tensor, piece));
  if (entry === undefined) throw new DamagedCheckpoint(`${fileName} lacks the tensor ${tensor.name}`);
  const isSame =
    entry.dtype === DTYPES[tensor.dtype].safetensors &&
    entry.shape.join() === pieceShape(tensor, piece).join();
  if (!isSame || checksumOf(file, entry.byteOffset, entry.byteLength) !== piece.crc32) {
    throw new DamagedCheckpoint(`in ${fileName}, the tensor ${tensor.name} is not what was saved`);
  }
}

function checksumOf(file: OpenFile, start: number, length: number): string {
  const window = new Uint8Array(Math.min(length, CHECKED_TOGETHER));
  let checksum = 0;
  for (let done = 0; done < length; ) {
    const count = file.read(window.subarray(0, Math.min(window.length, length - done)), start + done);
    if (count === 0) throw new DamagedCheckpoint('a file became shorter while it was read');
    checksum = crc32(window.subarray(0, count), checksum);
    done += count;
  }
  return checksumText(checksum);
}

/** The parts of a checkpoint, opened for reading: headers now, pages of tensors when they are looked at. */
export function openParts({ folder }: Candidate, manifest: Manifest): ReadonlyMap<string, SafetensorsFile> {
  const open = (path: string): SafetensorsFile => openSafetensors(path, { followLink: false });
  return new Map(manifest.files.map(({ name }) => [name, readingPart(join(folder, name), open)]));
}

function readingPart<Result>(path: string, read: (path: string) => Result): Result {
  try {
    return read(path);
  } catch (cause) {
    if (cause instanceof DamagedCheckpoint) throw cause;
    if (cause instanceof TrainyardError) {
      const { expected, got } = cause.report;
      throw new DamagedCheckpoint(`${basename(path)} breaks the rule that ${expected}: ${got}`, { cause });
    }
    throw new DamagedCheckpoint(`${basename(path)} cannot be read: ${describeFileError(cause)}`, { cause });
  }
}

function readManifest(fileSystem: FileSystem, folder: string, tag: string): Manifest {
  const path = join(folder, MANIFEST_FILE);
  const content = fileSystem.open(path, (file) => {
    if (file.bytes > LARGEST_MANIFEST) throw new UnusableFile(`it has ${file.bytes} bytes`);
    const bytes = new Uint8Array(file.bytes);
    return bytes.subarray(0, file.read(bytes, 0));
  });
  const manifest = decodeManifest(content);
  if (manifest.tag !== tag) throw new DamagedCheckpoint(`its manifest is that of ${manifest.tag}`);
  return manifest;
}

function namesIn(directory: string, fileSystem: FileSystem): readonly string[] {
  try {
    return fileSystem.list(directory);
  } catch {
    return [];
  }
}

function messageOf(error: unknown): string {
  if (error instanceof DamagedCheckpoint) return error.message;
  const isOfFiles = error instanceof UnusableFile || (error instanceof Error && 'syscall' in error);
  if (isOfFiles) return `its manifest cannot be read: ${describeFileError(error)}`;
  const [first = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  return `its manifest is damaged: ${first.slice(0, 200)}`;
}

import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { invariant, TrainyardError } from '../../base/errors.js';
import { groupBy } from '../../base/group-by.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import {
  createFile,
  isTemporaryName,
  makeDurableDirectory,
  publishDirectory,
  replacedName,
  replaceFile,
  temporaryName,
} from '../durable.js';
import type { FileSystem } from '../file-system.js';
import { createSafetensors, type TensorSource } from '../safetensors/write.js';
import { checksumText } from './checksum.js';
import {
  encodeManifest,
  type FileRecord,
  FORMAT_VERSION,
  MANIFEST_FILE,
  type Manifest,
  type PieceRecord,
  type Selection,
  type TensorRecord,
} from './manifest.js';
import { pieceName, pieceShape, tilingFault } from './pieces.js';
import { type ExpectedPiece, verifyPart } from './read.js';
import { LATEST_FILE } from './tag.js';

/*
 * [Note: committing a checkpoint] All ranks know the draft's folder. Each makes it, if no other has, writes its part
 * into it, reads that back, and reports. The first rank commits once all parts have been reported. All files are synced
 * before the manifest is created, the manifest before the folder gets its name, and the folder's name before anybody is
 * told; so a folder that has its name is complete, whenever the power fails. See also [Note: durable writing].
 */

/** A checkpoint that is being written; plain data, so that it can be sent to other ranks and threads. */
export interface CheckpointDraft {
  readonly directory: string;
  readonly tag: string;
  /** Where the parts go until the checkpoint is complete. */
  readonly folder: string;
}

/** What one rank has of one tensor. */
export interface PieceSource extends Pick<PieceRecord, 'start' | 'elements'> {
  /** Of the tensor. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly along?: Selection;
  /** Fills `target` with elements of the piece, from its element `from` on. */
  read(target: Uint8Array, from: number): void;
}

/** What a rank reports about the part it wrote; plain data. */
export interface CheckpointPart {
  readonly file: FileRecord;
  /** Each with the one piece of it that is in the part. */
  readonly tensors: readonly TensorRecord[];
}

/** Of a manifest, what the writer does not know by itself. */
export type ManifestContent = Pick<Manifest, 'step' | 'data' | 'random' | 'model' | 'extra'>;

/** A place for a checkpoint, under a name that nobody takes for one. */
export function draftCheckpoint(directory: string, tag: string): CheckpointDraft {
  return { directory, tag, folder: temporaryName(join(directory, tag)) };
}

/** All of a tensor, from where it is. */
export function wholePiece(source: TensorSource & { readonly bytes: Uint8Array }): PieceSource {
  const { name, dtype, shape, bytes } = source;
  const size = DTYPES[dtype].bytes;
  return {
    name,
    dtype,
    shape,
    start: 0,
    elements: bytes.length / size,
    read: (target, from) => target.set(bytes.subarray(from * size, from * size + target.length)),
  };
}

/** Writes, syncs and reads back the pieces that one rank answers for. Each rank has a part of its own. */
export function writePart(
  fileSystem: FileSystem,
  draft: CheckpointDraft,
  rank: number,
  sources: readonly PieceSource[],
): CheckpointPart {
  makeDurableDirectory(fileSystem, draft.directory, 'private');
  fileSystem.makeDirectory(draft.folder, 'private');
  const file = `part-${String(rank).padStart(5, '0')}.safetensors`;
  // An empty tensor has no piece, and is in no part.
  const pieces = sources.filter(({ elements }) => elements > 0);
  const checksums = new Map<string, number>();
  const written = createSafetensors(
    fileSystem,
    join(draft.folder, file),
    pieces.map(contentOf),
    (piece, bytes) => {
      checksums.set(piece.name, crc32(bytes, checksums.get(piece.name) ?? 0));
    },
  );
  const tensors = sources.map((source): TensorRecord => {
    const { name, dtype, shape, start, elements, along } = source;
    const checksum = checksumText(checksums.get(pieceName(source, source)) ?? 0);
    const piece = { file, start, elements, crc32: checksum, ...(along && { along }) };
    return { name, dtype, shape: [...shape], pieces: elements > 0 ? [piece] : [] };
  });
  const headerCrc32 = checksumText(crc32(written.header));
  const record = { name: file, rank, byteLength: written.byteLength, headerCrc32 };
  const expected = tensors.flatMap((tensor) =>
    tensor.pieces.map((piece): ExpectedPiece => ({ tensor, piece })),
  );
  verifyPart(fileSystem, draft.folder, record, expected);
  return { file: record, tensors };
}

function contentOf(source: PieceSource): TensorSource {
  const size = DTYPES[source.dtype].bytes;
  return {
    name: pieceName(source, source),
    dtype: source.dtype,
    shape: pieceShape(source, source),
    read: (target, byteOffset) => source.read(target, byteOffset / size),
  };
}

/**
 * Makes the draft a checkpoint. When this returns it is there for good.
 *
 * @param serial one more than that of every checkpoint there is
 * @throws TrainyardError OUTPUT_UNWRITABLE where a part is not in the folder: then ranks have disks of their own
 */
export function commitCheckpoint(
  fileSystem: FileSystem,
  draft: CheckpointDraft,
  serial: number,
  content: ManifestContent,
  parts: readonly CheckpointPart[],
): void {
  const { directory, tag, folder } = draft;
  for (const { file } of parts) demandPart(fileSystem, folder, file);
  const manifest: Manifest = {
    format: 'trainyard-checkpoint',
    version: FORMAT_VERSION,
    tag,
    serial,
    ...content,
    files: parts.map(({ file }) => file),
    tensors: joinPieces(parts),
  };
  createFile(fileSystem, join(folder, MANIFEST_FILE), (file) => {
    fileSystem.write(file, encodeManifest(manifest));
  });
  publishDirectory(fileSystem, folder, join(directory, tag));
  replaceFile(fileSystem, join(directory, LATEST_FILE), (file) => {
    fileSystem.write(file, Buffer.from(`${tag}\n`));
  });
}

function demandPart(fileSystem: FileSystem, folder: string, { name, rank, byteLength }: FileRecord): void {
  const found = fileSystem.list(folder).includes(name)
    ? fileSystem.open(join(folder, name), ({ bytes }) => `${bytes} bytes`)
    : 'no such file';
  if (found === `${byteLength} bytes`) return;
  throw new TrainyardError('OUTPUT_UNWRITABLE', {
    what: 'A part of the checkpoint that another rank has written is not there.',
    where: join(folder, name),
    expected: `${byteLength} bytes, written by rank ${rank}`,
    got: found,
    cure: 'Put the output on a file system that all hosts share.',
  });
}

/** The tensors that the ranks reported, each with all of its pieces. */
function joinPieces(parts: readonly CheckpointPart[]): TensorRecord[] {
  const byName = groupBy(
    parts.flatMap(({ tensors }) => tensors),
    ({ name }) => name,
  );
  return [...byName.values()].flatMap(([first, ...others]) => {
    if (first === undefined) return [];
    const joined = { ...first, pieces: [first, ...others].flatMap(({ pieces }) => pieces) };
    const fault = tilingFault(joined);
    invariant(fault === undefined, `${joined.name} ${fault}`);
    return [joined];
  });
}

/**
 * Clears away what a crash has left: drafts, and old checkpoints of which a new one has taken the name.
 *
 * @param except the draft that is being written
 * @returns the names of what was removed
 */
export function clearRemains(
  fileSystem: FileSystem,
  directory: string,
  except?: CheckpointDraft,
): readonly string[] {
  const removed: string[] = [];
  const names = fileSystem.list(directory);
  for (const name of names) {
    const path = join(directory, name);
    const original = replacedName(name);
    if (path === except?.folder) continue;
    if (isTemporaryName(name) || (original !== undefined && names.includes(original))) {
      fileSystem.remove(path);
      removed.push(name);
    } else if (original !== undefined) fileSystem.rename(path, join(directory, original));
  }
  return removed;
}

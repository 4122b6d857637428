import { join } from 'node:path';
import { crc32 } from 'node:zlib';
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
import {
  decodeManifest,
  encodeManifest,
  MANIFEST_FILE,
  type Manifest,
  type TensorRecord,
} from './manifest.js';
import { LATEST_FILE } from './tag.js';

/*
 * [Note: committing a checkpoint] One rank begins a draft, every rank writes its part into it, and the first
 * rank commits once all parts have been reported. All files are synced before the manifest is created, the
 * manifest before the folder gets its name, and the folder's name before anybody is told; so a folder that
 * has its name is complete, whenever the power fails. See also [Note: durable writing].
 */

/** A checkpoint that is being written; plain data, so that it can be sent to the other ranks. */
export interface CheckpointDraft {
  readonly directory: string;
  readonly tag: string;
  /** Where the parts go until the checkpoint is complete. */
  readonly folder: string;
  /** One more than that of every checkpoint there is. */
  readonly serial: number;
}

/** What a rank reports about the part it wrote. */
export interface CheckpointPart {
  readonly file: Manifest['files'][number];
  readonly tensors: readonly TensorRecord[];
}

/** Clears away what an earlier crash left in `directory`, and makes the draft's folder. */
export function beginCheckpoint(fileSystem: FileSystem, directory: string, tag: string): CheckpointDraft {
  makeDurableDirectory(fileSystem, directory, 'private');
  settle(fileSystem, directory);
  const folder = temporaryName(join(directory, tag));
  fileSystem.makeDirectory(folder, 'private');
  return { directory, tag, folder, serial: nextSerial(fileSystem, directory) };
}

/** Writes the tensors that one rank answers for. Part numbers differ from rank to rank. */
export function writePart(
  fileSystem: FileSystem,
  draft: CheckpointDraft,
  part: number,
  sources: Iterable<TensorSource>,
): CheckpointPart {
  const name = `part-${String(part).padStart(5, '0')}.safetensors`;
  const tensors: TensorRecord[] = [];
  const byteLength = createSafetensors(fileSystem, join(draft.folder, name), sources, (source, bytes) => {
    const checksum = crc32(bytes).toString(16).padStart(8, '0');
    tensors.push({
      name: source.name,
      file: name,
      dtype: source.dtype,
      shape: [...source.shape],
      crc32: checksum,
    });
  });
  return { file: { name, byteLength }, tensors };
}

/** Makes the draft a checkpoint. When this returns it is there for good. */
export function commitCheckpoint(fileSystem: FileSystem, draft: CheckpointDraft, manifest: Manifest): void {
  const { directory, tag, folder } = draft;
  createFile(fileSystem, join(folder, MANIFEST_FILE), (file) => {
    fileSystem.write(file, encodeManifest(manifest));
  });
  publishDirectory(fileSystem, folder, join(directory, tag));
  replaceFile(fileSystem, join(directory, LATEST_FILE), (file) => {
    fileSystem.write(file, Buffer.from(`${tag}\n`));
  });
}

function settle(fileSystem: FileSystem, directory: string): void {
  const names = fileSystem.list(directory);
  for (const name of names) {
    const original = replacedName(name);
    if (isTemporaryName(name)) fileSystem.remove(join(directory, name));
    else if (original === undefined) continue;
    else if (names.includes(original)) fileSystem.remove(join(directory, name));
    else fileSystem.rename(join(directory, name), join(directory, original));
  }
}

function nextSerial(fileSystem: FileSystem, directory: string): number {
  const serials = fileSystem.list(directory).map((name) => serialOf(fileSystem, join(directory, name)));
  return Math.max(0, ...serials) + 1;
}

/** 0 for whatever is not a checkpoint. */
function serialOf(fileSystem: FileSystem, folder: string): number {
  try {
    return decodeManifest(fileSystem.read(join(folder, MANIFEST_FILE))).serial;
  } catch {
    return 0;
  }
}

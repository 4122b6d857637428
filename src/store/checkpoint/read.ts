import { lstatSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { TrainyardError } from '../../base/errors.js';
import { DTYPES } from '../../tensor/dtype.js';
import { replacedName } from '../durable.js';
import { describeFileError, readSmallFile, UnusableFile } from '../open-file.js';
import { openSafetensors, type SafetensorsFile } from '../safetensors.js';
import { decodeManifest, MANIFEST_FILE, type Manifest, type TensorRecord } from './manifest.js';
import { isTag } from './tag.js';

const LARGEST_MANIFEST = 64 * 1024 * 1024;

/** A folder that may be a checkpoint. */
export interface Candidate {
  readonly folder: string;
  readonly tag: string;
  /** Undefined, with the reason, where the folder has no readable manifest. */
  readonly manifest: Manifest | undefined;
  readonly reason?: string;
}

/** A checkpoint whose every byte was checked. */
export interface VerifiedTensors {
  readonly manifest: Manifest;
  readonly files: ReadonlyMap<string, SafetensorsFile>;
}

/** Why a checkpoint cannot be used. */
export class DamagedCheckpoint extends Error {
  override readonly name = 'DamagedCheckpoint';
}

/** The checkpoints in a directory, the last committed first, those without a readable manifest at the end. */
export function listCandidates(directory: string): readonly Candidate[] {
  const candidates = namesIn(directory).flatMap((name): readonly Candidate[] => {
    const tag = replacedName(name) ?? name;
    const folder = join(directory, name);
    // A link could lead anywhere; only folders of our own are checkpoints.
    if (!isTag(tag) || !lstatSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
    try {
      return [{ folder, tag, manifest: readManifest(folder, tag) }];
    } catch (error) {
      return [{ folder, tag, manifest: undefined, reason: messageOf(error) }];
    }
  });
  return candidates.sort((left, right) => (right.manifest?.serial ?? -1) - (left.manifest?.serial ?? -1));
}

/**
 * Checks a checkpoint byte for byte against its manifest.
 *
 * @throws DamagedCheckpoint naming the file and the tensor
 */
export function verify({ folder, manifest, reason }: Candidate): VerifiedTensors {
  if (manifest === undefined) throw new DamagedCheckpoint(reason ?? 'it has no manifest');
  const files = new Map<string, SafetensorsFile>();
  for (const { name, byteLength } of manifest.files) {
    const file = openPart(join(folder, name));
    if (file.byteLength !== byteLength) {
      throw new DamagedCheckpoint(`${name} has ${file.byteLength} bytes, not ${byteLength}`);
    }
    files.set(name, file);
  }
  const expected = new Set(manifest.tensors.map(({ name }) => name));
  if (expected.size !== manifest.tensors.length)
    throw new DamagedCheckpoint('its manifest names a tensor twice');
  for (const record of manifest.tensors) verifyTensor(files.get(record.file), record);
  const held = [...files.values()].reduce((sum, file) => sum + file.names.length, 0);
  if (held !== expected.size)
    throw new DamagedCheckpoint('its parts hold tensors that its manifest does not name');
  return { manifest, files };
}

function readManifest(folder: string, tag: string): Manifest {
  const path = join(folder, MANIFEST_FILE);
  const manifest = decodeManifest(readSmallFile(path, LARGEST_MANIFEST, { followLink: false }));
  if (manifest.tag !== tag) throw new DamagedCheckpoint(`its manifest is that of ${manifest.tag}`);
  return manifest;
}

function openPart(path: string): SafetensorsFile {
  try {
    return openSafetensors(path, { followLink: false });
  } catch (cause) {
    if (!(cause instanceof TrainyardError)) throw cause;
    const { expected, got } = cause.report;
    throw new DamagedCheckpoint(`${basename(path)} breaks the rule that ${expected}: ${got}`, { cause });
  }
}

function verifyTensor(file: SafetensorsFile | undefined, record: TensorRecord): void {
  if (!file?.has(record.name)) throw new DamagedCheckpoint(`${record.file} lacks the tensor ${record.name}`);
  const entry = file.entry(record.name);
  const isSame =
    entry.dtype === DTYPES[record.dtype].safetensors && entry.shape.join() === record.shape.join();
  const checksum = crc32(file.bytes(record.name)).toString(16).padStart(8, '0');
  if (!isSame || checksum !== record.crc32) {
    throw new DamagedCheckpoint(`in ${record.file}, the tensor ${record.name} is not what was saved`);
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort();
  } catch {
    return [];
  }
}

function messageOf(error: unknown): string {
  if (error instanceof DamagedCheckpoint) return error.message;
  if (error instanceof UnusableFile) return `its manifest cannot be read: ${describeFileError(error)}`;
  const [first = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
  return `its manifest is damaged: ${first.slice(0, 200)}`;
}

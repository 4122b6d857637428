import { randomBytes } from 'node:crypto';
import { dirname, resolve } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import type { FileDescriptor, FileSystem } from './file-system.js';
import { describeFileError } from './open-file.js';

/*
 * [Note: durable writing] A name always leads to something complete. What is new is written under a
 * temporary name, synced, and renamed; the folder it lies in is synced after that. Until the rename the old
 * content is whole, after it the new one is, and what a crash leaves under a temporary name is removed by the
 * next writer. A folder cannot be renamed over another: the old one steps aside as `name.old-…` first, where
 * readers that know of it still find it, and goes when the new one is in place for good.
 */

const TEMPORARY = '.tmp-';
const REPLACED = '.old-';

/** A name for what is not complete yet. */
export function temporaryName(path: string): string {
  return `${path}${TEMPORARY}${randomBytes(4).toString('hex')}`;
}

/** Whether a name says that its content may be incomplete. */
export function isTemporaryName(name: string): boolean {
  return name.includes(TEMPORARY);
}

/** The name that a folder had before a newer one took its place, or undefined when it was not replaced. */
export function replacedName(name: string): string | undefined {
  const end = name.lastIndexOf(REPLACED);
  return end === -1 ? undefined : name.slice(0, end);
}

/** Makes a folder, with its parents, that survives a loss of power. */
export function makeDurableDirectory(fileSystem: FileSystem, path: string, access?: 'private'): void {
  const full = resolve(path);
  const top = dirname(fileSystem.makeDirectory(full, access) ?? full);
  let folder = dirname(full);
  fileSystem.syncDirectory(folder);
  while (folder !== top && folder !== dirname(folder)) {
    folder = dirname(folder);
    fileSystem.syncDirectory(folder);
  }
}

/** Creates a file, has it filled, and returns when its content is on the disk. */
export function createFile(fileSystem: FileSystem, path: string, fill: (file: FileDescriptor) => void): void {
  const file = fileSystem.create(path);
  try {
    fill(file);
    fileSystem.sync(file);
  } finally {
    fileSystem.close(file);
  }
}

/** Puts a file in the place of the one that may be there, so that at every instant one of the two is whole. */
export function replaceFile(
  fileSystem: FileSystem,
  path: string,
  fill: (file: FileDescriptor) => void,
): void {
  const temporary = temporaryName(path);
  makeDurableDirectory(fileSystem, dirname(path));
  try {
    createFile(fileSystem, temporary, fill);
    fileSystem.rename(temporary, path);
  } catch (error) {
    removeQuietly(fileSystem, temporary);
    throw error;
  }
  fileSystem.syncDirectory(dirname(path));
}

/** Puts a finished folder in the place of the one that may be there; the two lie in the same folder. */
export function publishDirectory(fileSystem: FileSystem, finished: string, path: string): void {
  const parent = dirname(path);
  fileSystem.syncDirectory(finished);
  const name = path.slice(parent.length + 1);
  if (!fileSystem.list(parent).includes(name)) {
    fileSystem.rename(finished, path);
    fileSystem.syncDirectory(parent);
    return;
  }
  const replaced = `${path}${REPLACED}${randomBytes(4).toString('hex')}`;
  fileSystem.rename(path, replaced);
  fileSystem.rename(finished, path);
  fileSystem.syncDirectory(parent);
  fileSystem.remove(replaced);
}

/** Removes what a failed write leaves; the failure itself is what should be reported. */
export function removeQuietly(fileSystem: FileSystem, path: string): void {
  try {
    fileSystem.remove(path);
  } catch {
    // The next writer removes it.
  }
}

/**
 * Runs a write and reports a failing system call as an error of ours.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE
 */
export function reportingWriteErrors<Result>(
  what: string,
  path: string,
  write: () => Result,
  cure = 'Make room or give permission there, or choose another folder, and run again.',
): Result {
  try {
    return write();
  } catch (cause) {
    const isSystemError = cause instanceof Error && 'syscall' in cause;
    if (!isSystemError) throw cause;
    throw new TrainyardError(
      'OUTPUT_UNWRITABLE',
      {
        what: `${what} could not be written; what was there before is untouched.`,
        where: path,
        got: describeFileError(cause),
        cure,
      },
      { cause },
    );
  }
}

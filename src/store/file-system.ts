import {
  closeSync,
  constants,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { type OpenFile, withOpenFile } from './open-file.js';

/** An open file that is being written. */
export type FileDescriptor = number;

/**
 * The operations that durable writing is made of, one system call each. Tests put a disk in its place that
 * stops, fails or loses what was not synced at every one of them.
 */
export interface FileSystem {
  /**
   * Makes a folder, with its parents; there may be one already. A private one only its owner can enter.
   * Returns the uppermost folder that had to be made.
   */
  makeDirectory(path: string, access?: 'private'): string | undefined;
  /** Creates a file that does not exist yet. */
  create(path: string): FileDescriptor;
  /** Appends all of `bytes`. */
  write(file: FileDescriptor, bytes: Uint8Array): void;
  /** Returns when the file's content would survive a loss of power. */
  sync(file: FileDescriptor): void;
  close(file: FileDescriptor): void;
  /** Returns when the folder's entries (creations, renames, removals) would survive a loss of power. */
  syncDirectory(path: string): void;
  /** Renames a file, replacing one of the new name; or a folder, when none has the new name. */
  rename(from: string, to: string): void;
  /** Removes a file or a folder with all it holds; there may be none. */
  remove(path: string): void;
  /** Opens a file for reading, unless it is a link, and closes it after `use`. */
  open<Result>(path: string, use: (file: OpenFile) => Result): Result;
  /** Whether it is a folder, and not a link to one. */
  isFolder(path: string): boolean;
  /** Bytes that may still be written to the disk that this folder is on. */
  freeBytes(path: string): number;
  /** The names in a folder, sorted; none when there is no folder. */
  list(path: string): readonly string[];
}

/** The operating system's. */
export const nodeFileSystem: FileSystem = {
  makeDirectory(path, access) {
    const missing = missingFolders(path);
    for (const folder of missing) makeFolder(folder, access === 'private' && folder === path ? 0o700 : 0o777);
    return missing[0];
  },
  create: (path) => openSync(path, 'wx'),
  write: writeFully,
  sync: fsyncSync,
  close: closeSync,
  syncDirectory(path) {
    const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  },
  rename: renameSync,
  remove: (path) => rmSync(path, { recursive: true, force: true }),
  open: (path, use) => withOpenFile(path, use, { followLink: false }),
  isFolder: (path) => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true,
  freeBytes(path) {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  },
  list(path) {
    try {
      return readdirSync(path).sort();
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
      throw error;
    }
  },
};

/**
 * The folders on the way to `path` that are not there yet, uppermost first, and `path` itself if it is no folder. Node's
 * own recursive `mkdirSync` never returns where the system denies that a folder is there and that it can be made,
 * as in /proc.
 */
function missingFolders(path: string): readonly string[] {
  const missing: string[] = [];
  let folder = path;
  while (!isFolder(folder) && folder !== dirname(folder)) {
    missing.unshift(folder);
    folder = dirname(folder);
  }
  return missing;
}

/** Another process may have made it a moment ago. */
function makeFolder(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if (!isFolder(path)) throw error;
  }
}

/** False also for what the system does not let us look at, or takes for no path. */
export function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** One system call takes less than 2 GiB. */
const LARGEST_WRITE = 256 * 1024 * 1024;

function writeFully(file: FileDescriptor, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.byteLength) {
    done += writeSync(file, bytes, done, Math.min(LARGEST_WRITE, bytes.byteLength - done));
  }
}

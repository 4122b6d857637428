import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/** A file opened for reading, its size taken from the open file itself. */
export interface OpenFile {
  readonly bytes: number;
  /** Fills `target` from `position` on and returns how many bytes there were. */
  read(target: Uint8Array, position: number): number;
}

/** Why a file cannot be used, as words to end a sentence with. */
export class UnusableFile extends Error {
  override readonly name = 'UnusableFile';
}

/**
 * Opens a regular file, gives it to `use` and closes it. Folders, devices and pipes are refused without
 * waiting for them; a symbolic link as well, where `followLink` is false.
 *
 * @throws UnusableFile
 */
export function withOpenFile<Result>(
  path: string,
  use: (file: OpenFile) => Result,
  { followLink = true }: { readonly followLink?: boolean } = {},
): Result {
  const descriptor = openForReading(path, followLink);
  try {
    const status = fstatSync(descriptor);
    if (!status.isFile()) throw new UnusableFile('it is not a regular file');
    return use({
      bytes: status.size,
      read: (target, position) => readFully(descriptor, target, position),
    });
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Reads a whole file of at most `limit` bytes.
 *
 * @throws UnusableFile
 */
export function readSmallFile(
  path: string,
  limit: number,
  options: { readonly followLink?: boolean } = {},
): Uint8Array {
  return withOpenFile(
    path,
    (file) => {
      if (file.bytes > limit) throw new UnusableFile(`it has ${file.bytes} bytes, more than ${limit}`);
      const content = new Uint8Array(file.bytes);
      return content.subarray(0, file.read(content, 0));
    },
    options,
  );
}

/** The words for a failed system call on a file ("there is no such file"). */
export function describeFileError(error: unknown): string {
  if (error instanceof UnusableFile) return error.message;
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  if (code === undefined) return error instanceof Error ? error.message : String(error);
  if (code === 'ERR_INVALID_ARG_VALUE') return 'its name holds a NUL character';
  const isMaking = error instanceof Error && 'syscall' in error && error.syscall === 'mkdir';
  if (isMaking && code === 'ENOENT') return 'no folder can be made there';
  return describeErrorCode(code);
}

/** The words for a code of the system's, such as "ENOSPC". */
export function describeErrorCode(code: string): string {
  return FILE_ERRORS.get(code) ?? `the system says ${code}`;
}

const FILE_ERRORS: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'there is no such file'],
  ['EEXIST', 'something else of this name is in the way'],
  ['ENOTDIR', 'part of its path is not a folder'],
  ['EISDIR', 'it is a folder'],
  ['EACCES', 'permission is denied'],
  ['EPERM', 'permission is denied'],
  ['ELOOP', 'it is a symbolic link'],
  ['ENXIO', 'it is not a regular file'],
  ['ENAMETOOLONG', 'its name is too long'],
  ['ENOSPC', 'the disk is full'],
  ['EDQUOT', 'the disk quota is used up'],
  ['EROFS', 'the file system is read-only'],
  ['EIO', 'the disk reports an error'],
  ['ENODATA', 'the file ends before'],
]);

function openForReading(path: string, followLink: boolean): number {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | (followLink ? 0 : constants.O_NOFOLLOW);
  try {
    if (path.includes('\0')) throw new UnusableFile('its name holds a NUL character');
    return openSync(path, flags);
  } catch (error) {
    throw new UnusableFile(describeFileError(error), { cause: error });
  }
}

function readFully(descriptor: number, target: Uint8Array, position: number): number {
  let done = 0;
  while (done < target.byteLength) {
    const count = readSync(descriptor, target, done, target.byteLength - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

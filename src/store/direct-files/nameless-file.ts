import { randomBytes } from 'node:crypto';
import { constants, openSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { FileDescriptor } from '../file-system.js';

/** How the name of every such file begins, in the moment that it has one. */
const PREFIX = '.trainyard-offload-';

/**
 * Creates a file and takes its name away: it lives until nobody has it open. The name had the mark of the run, and lists
 * of open files (`lsof +L1`) go on to show it.
 *
 * @param mark letters, digits and the like: it becomes part of a file's name
 * @throws the system's error
 */
export function createNamelessFile(folder: string, mark: string, isDirect: boolean): FileDescriptor {
  const path = join(folder, `${PREFIX}${mark}-${randomBytes(6).toString('hex')}`);
  const { O_RDWR, O_CREAT, O_EXCL, O_DIRECT } = constants;
  const file = openSync(path, O_RDWR | O_CREAT | O_EXCL | (isDirect ? O_DIRECT : 0), 0o600);
  unlinkQuietly(path);
  return file;
}

/**
 * Removes what a process has left that was killed between the two: nobody needs a name that is still there, not even
 * one that another process is about to take away.
 */
export function removeLeftNames(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (name.startsWith(PREFIX)) unlinkQuietly(join(folder, name));
  }
}

function unlinkQuietly(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Another process was faster, or it is another user's.
  }
}

import { dirname, resolve } from 'node:path';
import { TrainyardError } from '../../base/errors.js';
import type { FileSystem } from '../file-system.js';

/** Headers, the manifest, and what the file system itself needs. */
const BESIDE_TENSORS = 1024 * 1024;

/**
 * A disk that is too full is found before anything is written to it.
 *
 * @param directory may have to be made yet
 * @param bytes of all tensors of all ranks
 * @throws TrainyardError OUTPUT_UNWRITABLE naming the folder and both numbers
 */
export function demandSpace(fileSystem: FileSystem, directory: string, bytes: number): void {
  const needed = bytes + BESIDE_TENSORS;
  let existing = resolve(directory);
  while (!fileSystem.isFolder(existing) && existing !== dirname(existing)) existing = dirname(existing);
  const free = fileSystem.freeBytes(existing);
  if (free >= needed) return;
  throw new TrainyardError('OUTPUT_UNWRITABLE', {
    what: 'The disk has no room for a checkpoint; what was there before is untouched.',
    where: directory,
    expected: `${needed} bytes free`,
    got: `${free} bytes free`,
    cure: 'Make room, keep fewer checkpoints (checkpoint.keep), or choose another folder, and run again.',
  });
}

import { join } from 'node:path';
import { temporaryName } from '../durable.js';
import type { FileSystem } from '../file-system.js';
import { listCandidates } from './read.js';

/** How many checkpoints stay, and which of them whatever their age. */
export interface Retention {
  /** At least 2: should the newest turn out damaged, there is one before it. */
  readonly keep: number;
  /** Tags of checkpoints that somebody goes on from. */
  readonly inUse: readonly string[];
}

/**
 * Removes checkpoints beyond the newest `keep`. Each loses its name first, so that a crash leaves no half of one
 * that looks like one. What has no readable manifest is left alone: it does not count, and nobody knows what it is.
 *
 * @returns the tags of those that were removed
 */
export function removeOldCheckpoints(
  fileSystem: FileSystem,
  directory: string,
  { keep, inUse }: Retention,
): readonly string[] {
  const complete = listCandidates(directory, fileSystem).filter(({ manifest }) => manifest !== undefined);
  const old = complete.slice(keep).filter(({ tag }) => !inUse.includes(tag));
  for (const { folder, tag } of old) {
    const nameless = temporaryName(join(directory, tag));
    fileSystem.rename(folder, nameless);
    fileSystem.remove(nameless);
  }
  return old.map(({ tag }) => tag);
}

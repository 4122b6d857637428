import { temporaryName } from '../durable.js';
import type { FileSystem } from '../file-system.js';
import type { Candidate } from './read.js';

/** How many checkpoints stay, and which of them whatever their age. */
export interface Retention {
  /** At least 2: should the newest turn out damaged, there is one before it. */
  readonly keep: number;
  /** Tags of checkpoints that somebody goes on from. */
  readonly inUse: readonly string[];
}

/** A number that grows from checkpoint to checkpoint, given those that there are. */
export function nextSerial(candidates: readonly Candidate[]): number {
  return candidates.reduce((largest, { manifest }) => Math.max(largest, manifest?.serial ?? 0), 0) + 1;
}

/**
 * Removes checkpoints so that `keep` of them are left. Each loses its name first, so that a crash leaves no half of one
 * that looks like one. What has no readable manifest is left alone: it does not count, and nobody knows what it is.
 *
 * @param older those that were there before the newest one, in their order
 * @returns the tags of those that were removed
 */
export function removeOldCheckpoints(
  fileSystem: FileSystem,
  older: readonly Candidate[],
  { keep, inUse }: Retention,
): readonly string[] {
  const complete = older.filter(({ manifest }) => manifest !== undefined);
  const old = complete.slice(keep - 1).filter(({ tag }) => !inUse.includes(tag));
  for (const { folder } of old) {
    const nameless = temporaryName(folder);
    fileSystem.rename(folder, nameless);
    fileSystem.remove(nameless);
  }
  return old.map(({ tag }) => tag);
}

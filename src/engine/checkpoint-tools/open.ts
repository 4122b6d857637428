import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { TrainyardError } from '../../base/errors.js';
import { MANIFEST_FILE } from '../../store/checkpoint/manifest.js';
import { type LoadedCheckpoint, loadCheckpoint } from '../../store/checkpoint.js';
import { isFolder } from '../../store/file-system.js';
import { checkpointsIn } from '../checkpoints-in.js';

/** Where checkpoints are looked for. */
export interface CheckpointPlace {
  readonly directory: string;
  /** Absent: all of them, or the newest. */
  readonly tag?: string;
}

/**
 * What a path of a command means: a run's output folder, a folder of checkpoints, or one checkpoint.
 *
 * @throws TrainyardError CHECKPOINT_INVALID for what is no folder
 */
export function placeOfCheckpoints(path: string): CheckpointPlace {
  const full = resolve(path);
  if (!isFolder(full)) throw nothingThere(path, 'there is no such folder');
  if (existsSync(join(full, MANIFEST_FILE))) return { directory: dirname(full), tag: basename(full) };
  return { directory: isFolder(checkpointsIn(full)) ? checkpointsIn(full) : full };
}

/**
 * The checkpoint that a path means, the newest whole one where there are several. Every byte is checked.
 *
 * @throws TrainyardError CHECKPOINT_INVALID
 */
export function openCheckpointAt(path: string): LoadedCheckpoint {
  const { directory, ...tag } = placeOfCheckpoints(path);
  const checkpoint = loadCheckpoint(directory, tag);
  if (checkpoint === undefined) throw nothingThere(path, 'no checkpoint');
  return checkpoint;
}

export function nothingThere(path: string, got: string): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: 'There is no checkpoint.',
    where: path,
    expected: "a run's output folder, a folder of checkpoints, or one checkpoint",
    got,
    cure: 'Name the output of a run that has saved.',
  });
}

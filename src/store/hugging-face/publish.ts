import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isTemporaryName, makeDurableDirectory, removeQuietly, temporaryName } from '../durable.js';
import type { FileSystem } from '../file-system.js';
import { ADAPTER_CONFIG_FILE, belongsToModel, CONFIG_FILE } from './file-names.js';

/*
 * [Note: publishing a model] A model's folder may hold other things, such as the run's checkpoints, so it
 * cannot be replaced as a whole. The new files are completed in a hidden folder inside it. When that folder
 * gets its first name, `.model-complete`, the save is done as far as our readers are concerned: they look
 * there. Then the old files go, configuration first; the folder gets its second name, `.model-moving`; the new
 * files move out of it, configuration last. So another program that finds a configuration finds all that
 * belongs to it, and never a mixture. A save that was interrupted after the first name is finished by the
 * next one.
 */

const COMPLETE = '.model-complete';
const MOVING = '.model-moving';

/** Where our readers find the files of the model in `folder`, first place first. */
export function placesOfModel(folder: string): readonly string[] {
  if (existsSync(join(folder, COMPLETE))) return [join(folder, COMPLETE)];
  if (existsSync(join(folder, MOVING))) return [join(folder, MOVING), folder];
  return [folder];
}

/**
 * Writes a model's files and puts them in the place of those that may be in `folder`. `write` creates and
 * syncs them in the folder it is given.
 */
export function publishModel(fileSystem: FileSystem, folder: string, write: (staging: string) => void): void {
  makeDurableDirectory(fileSystem, folder);
  finishPublishing(fileSystem, folder);
  removeUnfinished(fileSystem, folder);
  const staging = temporaryName(join(folder, COMPLETE));
  try {
    fileSystem.makeDirectory(staging);
    write(staging);
    fileSystem.syncDirectory(staging);
    fileSystem.rename(staging, join(folder, COMPLETE));
  } catch (error) {
    removeQuietly(fileSystem, staging);
    throw error;
  }
  fileSystem.syncDirectory(folder);
  finishPublishing(fileSystem, folder);
}

function finishPublishing(fileSystem: FileSystem, folder: string): void {
  const complete = join(folder, COMPLETE);
  const moving = join(folder, MOVING);
  if (fileSystem.list(folder).includes(COMPLETE)) {
    const [configuration, others] = divide(fileSystem.list(folder).filter(belongsToModel));
    for (const names of [configuration, others]) {
      for (const name of names) fileSystem.remove(join(folder, name));
      fileSystem.syncDirectory(folder);
    }
    fileSystem.rename(complete, moving);
    fileSystem.syncDirectory(folder);
  }
  if (!fileSystem.list(folder).includes(MOVING)) return;
  const [configuration, others] = divide(fileSystem.list(moving));
  for (const names of [others, configuration]) {
    for (const name of names) fileSystem.rename(join(moving, name), join(folder, name));
    fileSystem.syncDirectory(folder);
  }
  fileSystem.syncDirectory(moving);
  fileSystem.remove(moving);
}

/** The configuration apart from the rest: while it is there, all is there. */
function divide(names: readonly string[]): readonly [readonly string[], readonly string[]] {
  const isConfiguration = (name: string): boolean => name === CONFIG_FILE || name === ADAPTER_CONFIG_FILE;
  return [names.filter(isConfiguration), names.filter((name) => !isConfiguration(name))];
}

function removeUnfinished(fileSystem: FileSystem, folder: string): void {
  for (const name of fileSystem.list(folder)) {
    if (name.startsWith(COMPLETE) && isTemporaryName(name)) fileSystem.remove(join(folder, name));
  }
}

import { join, resolve } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import { createFile, makeDurableDirectory, removeQuietly, temporaryName } from './durable.js';
import { type FileSystem, nodeFileSystem } from './file-system.js';
import { describeFileError } from './open-file.js';

/**
 * Makes a folder, with its parents, and writes a file there and removes it: whoever works for hours learns now that the
 * result would find no place.
 *
 * @param setting the setting that names the folder, for the error
 * @throws TrainyardError OUTPUT_UNUSABLE
 */
export function demandWritableFolder(
  path: string,
  setting: string,
  fileSystem: FileSystem = nodeFileSystem,
): void {
  const probe = temporaryName(join(path, 'probe'));
  try {
    makeDurableDirectory(fileSystem, path);
    createFile(fileSystem, probe, (file) => fileSystem.write(file, Buffer.from('probe')));
    fileSystem.remove(probe);
  } catch (cause) {
    removeQuietly(fileSystem, probe);
    throw new TrainyardError(
      'OUTPUT_UNUSABLE',
      {
        what: 'The output folder cannot be made or written.',
        where: setting,
        expected: 'a folder, or a place for a new one, that this process may write',
        got: `${resolve(path)}: ${describeFileError(cause)}`,
        cure: 'Name another folder, or make room or give permission there.',
      },
      { cause },
    );
  }
}

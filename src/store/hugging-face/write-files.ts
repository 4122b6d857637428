import { join } from 'node:path';
import { invariant } from '../../base/errors.js';
import { createFile } from '../durable.js';
import type { FileSystem } from '../file-system.js';
import { describeFileError, readSmallFile } from '../open-file.js';
import { COMPANION_FILES } from './file-names.js';
import { modelUnreadable } from './folder-file.js';

/**
 * Files by their names in the folder, such as "tokenizer.json", each as a path to copy or as its bytes:
 * `ModelFolder.companionFiles` of the model that was trained, or the tokenizer made for it.
 */
export type CompanionFiles = ReadonlyMap<string, string | Uint8Array>;

const LARGEST_COMPANION = 1024 * 1024 * 1024;

/**
 * Writes what goes with a model into a folder that is not published yet.
 *
 * @throws TrainyardError MODEL_UNREADABLE for a file that cannot be read
 */
export function writeCompanions(fileSystem: FileSystem, folder: string, companions: CompanionFiles): void {
  for (const [name, source] of companions) {
    invariant(COMPANION_FILES.includes(name), `${name} is no file of a model folder`);
    const bytes = typeof source === 'string' ? readCompanion(source) : source;
    writeBytes(fileSystem, join(folder, name), bytes);
  }
}

/** Writes an object into a folder that is not published yet. */
export function writeJson(fileSystem: FileSystem, path: string, value: unknown): void {
  writeBytes(fileSystem, path, Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`));
}

function readCompanion(path: string): Uint8Array {
  try {
    return readSmallFile(path, LARGEST_COMPANION);
  } catch (error) {
    throw modelUnreadable('A file that belongs beside the model cannot be read.', path, {
      got: describeFileError(error),
      cure: 'Put the file back and save again; nothing was written.',
    });
  }
}

function writeBytes(fileSystem: FileSystem, path: string, bytes: Uint8Array): void {
  createFile(fileSystem, path, (file) => fileSystem.write(file, bytes));
}

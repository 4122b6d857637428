import { realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { TrainyardError } from '../../base/errors.js';
import { quote } from '../../base/printable.js';
import { describeFileError, UnusableFile } from '../open-file.js';
import { placesOfModel } from './publish.js';

/** The cure for most of what can be wrong with a model folder. */
const CURE = "Give the path of a complete folder in Hugging Face's layout: config.json beside its weights.";

/** An error about a model folder. */
export function modelUnreadable(
  what: string,
  where: string,
  report: { readonly expected?: string; readonly got?: string; readonly cure?: string } = {},
): TrainyardError {
  return new TrainyardError('MODEL_UNREADABLE', { what, where, cure: CURE, ...report });
}

/** Where the files of a model are looked for. */
export interface ModelFiles {
  /** The folder's real path. */
  readonly path: string;
  /** The places of its files, the first that has one wins: the folder itself, but after an interrupted save. */
  readonly places: readonly string[];
}

/** @throws TrainyardError MODEL_UNREADABLE when there is no such folder */
export function modelFiles(path: string): ModelFiles {
  try {
    const real = realpathSync(path);
    if (!statSync(real).isDirectory()) throw new UnusableFile('it is not a folder');
    return { path: real, places: placesOfModel(real) };
  } catch (error) {
    throw modelUnreadable('The model folder cannot be opened.', path, { got: describeFileError(error) });
  }
}

/**
 * The real path of the model's file `name`, or undefined when there is none. A symbolic link may lead to
 * another file of the folder, and from a snapshot in Hugging Face's cache into the blobs beside it; whoever
 * hands out a folder must not be able to make us read anything else.
 *
 * @throws TrainyardError MODEL_UNREADABLE for a link that leads elsewhere
 */
export function fileInFolder(folder: ModelFiles, name: string): string | undefined {
  for (const place of folder.places) {
    const path = realPath(join(place, name));
    if (path === undefined) continue;
    if (permittedRoots(folder.path).some((root) => path.startsWith(root + sep))) return path;
    throw modelUnreadable('A file of the model folder is a link that leads out of it.', join(place, name), {
      expected: `a file inside ${folder.path}`,
      got: quote(path),
    });
  }
  return undefined;
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

function permittedRoots(folder: string): readonly string[] {
  const repository = dirname(dirname(folder));
  const isSnapshot =
    basename(dirname(folder)) === 'snapshots' && /^(?:models|datasets)--/.test(basename(repository));
  return isSnapshot ? [folder, join(repository, 'blobs')] : [folder];
}

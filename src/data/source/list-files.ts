import { readdirSync, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { TrainyardError } from '../../base/errors.js';
import { describeFileError } from '../../store/open-file.js';
import { globRoot, globToRegExp, isGlob } from './glob.js';

/** What a folder given as a data path is searched for. Anything else needs an explicit pattern. */
const FOLDER_EXTENSIONS: ReadonlySet<string> = new Set(
  (
    'txt text md markdown rst tex csv tsv html htm xml json yaml yml toml ini jsonl ndjson parquet ' +
    'c h cc cpp cxx hpp cu cs go java js jsx mjs cjs ts tsx mts cts kt lua php pl py r rb rs scala sh sql swift vue'
  ).split(' '),
);

/**
 * The files that the data paths of a configuration name, as absolute paths.
 *
 * Each path is a file, a folder (searched through, without hidden entries and `node_modules`, for the usual text
 * and data extensions) or a pattern such as `corpus/*.txt`. A path's files are sorted by their bytes, the paths
 * keep their order, and a file named twice is read once, so that every rank sees the same list.
 *
 * @param baseDirectory what relative paths are relative to.
 * @throws DATA_UNREADABLE when a path is missing, unreadable, no pattern, or matches nothing.
 */
export function listFiles(paths: readonly string[], baseDirectory: string): readonly string[] {
  const files = new Set<string>();
  for (const path of paths) {
    for (const file of reportingFileErrors(path, () => expandPath(path, baseDirectory))) files.add(file);
  }
  return [...files];
}

/** What the system finds wrong with a path: a folder that may not be read, a name that is too long. */
function reportingFileErrors<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error) || error instanceof TrainyardError) throw error;
    const place = 'path' in error ? `${error.path}: ` : '';
    throw unreadable(path, `${place}${describeFileError(error)}`, error);
  }
}

function expandPath(path: string, baseDirectory: string): readonly string[] {
  const absolute = resolve(baseDirectory, path);
  const stats = statSync(absolute, { throwIfNoEntry: false });
  if (stats?.isFile()) return [absolute];
  if (stats?.isDirectory()) {
    const found = walk(absolute, (name) => name !== 'node_modules').filter(hasKnownExtension);
    return nonEmpty(found, path, `the folder ${absolute} holds no text, .jsonl or .parquet file`);
  }
  if (isGlob(path)) {
    const pattern = toSlashes(absolute);
    const root = globRoot(pattern) || '/';
    const matcher = matcherOf(toSlashes(relative(root, absolute)), path);
    const matches = (file: string): boolean => matcher.test(toSlashes(relative(root, file)));
    const searched = statSync(root, { throwIfNoEntry: false })?.isDirectory();
    return nonEmpty(
      searched ? walk(root, () => true).filter(matches) : [],
      path,
      `nothing matches ${absolute}`,
    );
  }
  throw unreadable(
    path,
    stats === undefined ? `${absolute} does not exist` : `${absolute} is no file or folder`,
  );
}

function matcherOf(pattern: string, path: string): RegExp {
  try {
    return globToRegExp(pattern);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new TrainyardError(
      'DATA_UNREADABLE',
      {
        what: 'A data path is no pattern.',
        where: `data.path: ${path}`,
        expected: 'a pattern such as corpus/**/*.txt, [a-z]*.txt or *.{ts,js}',
        got: error.message.split(': ').at(-1) ?? '',
        cure: 'Mend the pattern: a range such as [a-z] goes upwards, and braces are not nested.',
      },
      { cause: error },
    );
  }
}

/** Every file below a folder, depth first, sorted by bytes. Links to files count; links to folders are not followed. */
function walk(directory: string, enters: (name: string) => boolean): string[] {
  const files: string[] = [];
  const pending = [directory];
  for (let current = pending.pop(); current !== undefined; current = pending.pop()) {
    for (const entry of readdirSync(current, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      const path = join(current, entry.name);
      if (entry.isDirectory()) {
        if (enters(entry.name)) pending.push(path);
      } else if (entry.isFile() || (entry.isSymbolicLink() && isLinkToFile(path))) files.push(path);
    }
  }
  return files.sort((first, second) => (first < second ? -1 : first > second ? 1 : 0));
}

function isLinkToFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function hasKnownExtension(file: string): boolean {
  return FOLDER_EXTENSIONS.has(file.slice(file.lastIndexOf('.') + 1).toLowerCase());
}

function nonEmpty(files: readonly string[], path: string, got: string): readonly string[] {
  if (files.length === 0) throw unreadable(path, got);
  return files;
}

function unreadable(path: string, got: string, cause?: unknown): TrainyardError {
  return new TrainyardError(
    'DATA_UNREADABLE',
    {
      what: 'A data path names no file.',
      where: path,
      expected: 'a file, a folder or a pattern such as corpus/**/*.txt',
      got,
      cure: 'Check data.path; relative paths start at the working directory of the run.',
    },
    { cause },
  );
}

function toSlashes(path: string): string {
  return sep === '/' ? path : path.split(sep).join('/');
}

import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { TrainyardError } from '../base/errors.js';

/**
 * The text that the first run trains on: the declaration files that the installed `typescript` package carries,
 * sorted, about 4 MB.
 *
 * @throws DATA_UNREADABLE when the package is not installed or carries none.
 */
export function listDemoCorpus(): readonly string[] {
  const library = join(dirname(findTypescript()), 'lib');
  const names = readdirSync(library).filter((name) => name.endsWith('.d.ts'));
  if (names.length === 0) throw missing(library);
  return names.sort().map((name) => join(library, name));
}

function findTypescript(): string {
  try {
    return createRequire(import.meta.url).resolve('typescript/package.json');
  } catch (error) {
    throw missing(error instanceof Error ? error.message : String(error));
  }
}

function missing(got: string): TrainyardError {
  return new TrainyardError('DATA_UNREADABLE', {
    what: 'The declaration files of the typescript package are not here.',
    got,
    cure: 'Run `npm install`, or give a path of your own.',
  });
}

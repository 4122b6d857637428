import { accessSync, constants, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Makes an empty folder in the host's memory, where there is such a place: `fsync` takes no time there. For tests of what
 * outlives processes, not machines.
 */
export function memoryFolder(prefix: string): string {
  for (const place of ['/dev/shm', tmpdir()]) {
    try {
      accessSync(place, constants.W_OK);
      return mkdtempSync(join(place, prefix));
    } catch {
      // The next one.
    }
  }
  throw new Error('no folder for files of tests');
}

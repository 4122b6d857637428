import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { resolve, sep } from 'node:path';
import { native } from '../../src/native/native.js';

/** Notices what this process opens outside of a folder, until it is disposed of. */
export interface ReadGuard extends Disposable {
  /** What was opened there since this was asked before. */
  takeOutside(): readonly string[];
}

/** Looks at every path that is opened, listed, or mapped by the add-on; links must not be in the folder. */
export function guardReads(folder: string): ReadGuard {
  const inside = resolve(folder);
  const outside: string[] = [];
  const look = (path: unknown): void => {
    if (typeof path === 'number') return;
    const whole = resolve(String(path));
    if (whole !== inside && !whole.startsWith(inside + sep)) outside.push(whole);
  };
  const { openSync, readFileSync, readdirSync } = fs;
  const { mapFile } = native;
  const watched =
    <Arguments extends readonly unknown[], Result>(
      original: (...args: Arguments) => Result,
    ): ((...args: Arguments) => Result) =>
    (...args) => {
      look(args[0]);
      return original(...args);
    };
  Object.assign(fs, {
    openSync: watched(openSync),
    readFileSync: watched(readFileSync),
    readdirSync: watched(readdirSync),
  });
  syncBuiltinESMExports();
  native.mapFile = watched(mapFile);
  return {
    takeOutside: () => outside.splice(0),
    [Symbol.dispose]() {
      Object.assign(fs, { openSync, readFileSync, readdirSync });
      syncBuiltinESMExports();
      native.mapFile = mapFile;
    },
  };
}

import type { JsonDocument, JsonPath } from '../../base/json-document.js';
import type { Override } from './overrides.js';

/** Where a setting was made. */
export type SettingSource = 'file' | 'flag' | 'code' | 'default';

/** Knows where each part of a configuration came from. */
export interface ConfigOrigin {
  /** What errors call the configuration as a whole. */
  readonly name: string;
  /** Where the value at `path` was set. */
  sourceOf(path: JsonPath): SettingSource;
  /** The place of the setting at `path`, or of the nearest thing around it: `run.json:4:34`, `--set …`. */
  describe(path: JsonPath, part: 'key' | 'value'): string;
  /** A number by which issues sort into the order of the file; flags come last. */
  rank(issue: { readonly path: JsonPath; readonly part: 'key' | 'value' }): number;
}

/** The origin of a configuration read from a file, some of it overridden by flags. */
export function fileOrigin(document: JsonDocument, overrides: readonly Override[]): ConfigOrigin {
  const latestFirst = [...overrides].reverse();
  const flagFor = (path: JsonPath) => latestFirst.find((override) => startsWith(path, override.path));
  // What is missing from an object that only a flag made is the flag's doing too.
  const flagToBlame = (path: JsonPath) => {
    const around = path.slice(0, -1);
    const madeByFlag = around.length > 0 && document.locate(around, 'value') === undefined;
    return (
      flagFor(path) ?? (madeByFlag ? latestFirst.find(({ path: set }) => startsWith(set, around)) : undefined)
    );
  };
  const positionOf = (path: JsonPath, part: 'key' | 'value') => {
    const own = document.locate(path, part);
    for (let length = path.length - 1; own === undefined && length >= 0; length--) {
      const around = document.locate(path.slice(0, length), 'key');
      if (around !== undefined) return around;
    }
    return own ?? { line: 1, column: 1 };
  };
  return {
    name: document.name,
    sourceOf: (path) => {
      if (flagFor(path) !== undefined) return 'flag';
      return document.locate(path, 'value') === undefined ? 'default' : 'file';
    },
    describe: (path, part) => {
      const flag = flagToBlame(path);
      if (flag !== undefined) return flag.text;
      const { line, column } = positionOf(path, part);
      return `${document.name}:${line}:${column}`;
    },
    rank: ({ path, part }) => {
      if (flagToBlame(path) !== undefined) return Number.MAX_SAFE_INTEGER;
      const { line, column } = positionOf(path, part);
      return line * 2 ** 24 + column;
    },
  };
}

/** The origin of a configuration given as an object in code: it has paths but no lines. */
export function codeOrigin(hasOwnValue: (path: JsonPath) => boolean): ConfigOrigin {
  return {
    name: 'the configuration',
    sourceOf: (path) => (hasOwnValue(path) ? 'code' : 'default'),
    describe: () => 'the configuration object',
    rank: () => 0,
  };
}

function startsWith(path: JsonPath, prefix: JsonPath): boolean {
  return prefix.length <= path.length && prefix.every((step, index) => step === path[index]);
}

import { homedir } from 'node:os';
import { join } from 'node:path';

/**
 * The only place that touches `process.env`: each variable by its typed name. Getters, so that a test can set a
 * variable and see it.
 */
export const env = {
  /** TRAINYARD_DEBUG=1: stack traces, C++ ones included, in error messages. */
  get debug(): boolean {
    return isOn(process.env.TRAINYARD_DEBUG);
  },
  /** TRAINYARD_NATIVE: path of the add-on, where it is not in `build/native`. */
  get nativePath(): string | undefined {
    return nonEmpty(process.env.TRAINYARD_NATIVE);
  },
  /**
   * TRAINYARD_CACHE: where tokenized text is kept; else a folder of ours in the person's cache, as the XDG base
   * directories name it.
   */
  get cacheDirectory(): string {
    const own = nonEmpty(process.env.TRAINYARD_CACHE);
    const caches = nonEmpty(process.env.XDG_CACHE_HOME) ?? join(homedir(), '.cache');
    return own ?? join(caches, 'trainyard');
  },
  /** Sets a variable for libraries that are loaded later, unless the person has set it. */
  setDefault(name: string, value: string): void {
    process.env[name] ??= value;
  },
  /** All of them: a launcher hands them on, and other launchers have set some for us (RANK, WORLD_SIZE). */
  get variables(): Readonly<Record<string, string | undefined>> {
    return process.env;
  },
  /** NO_COLOR: colours are unwanted. */
  get noColor(): boolean {
    return nonEmpty(process.env.NO_COLOR) !== undefined;
  },
  /** TERM=dumb: a terminal that cannot draw over a line. */
  get hasDumbTerminal(): boolean {
    return process.env.TERM === 'dumb';
  },
  /** CI: a log, even where it looks like a terminal. */
  get ci(): boolean {
    return isOn(process.env.CI);
  },
};

function isOn(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0' && value !== 'false';
}

function nonEmpty(value: string | undefined): string | undefined {
  return value === '' ? undefined : value;
}

import { TrainyardError } from '../base/errors.js';
import {
  formatPath,
  isJsonObject,
  type JsonPath,
  type JsonValue,
  readJsonDocument,
} from '../base/json-document.js';
import { valueBelow } from '../base/json-schema.js';
import { type ConfigOrigin, codeOrigin, fileOrigin } from './config/origin.js';
import { applyOverrides, parseOverride } from './config/overrides.js';
import { type ResolvedConfig, resolve } from './config/resolve.js';
import type { UserConfig } from './config/user-config.js';

export type { ResolvedConfig } from './config/resolve.js';
export type { UserConfig } from './config/user-config.js';

/** A key of a resolved configuration. */
export type ConfigKey = keyof UserConfig & keyof ResolvedConfig;

/** A resolved configuration in which some keys, otherwise optional, are certain. */
export type ConfigWith<Key extends ConfigKey> = ResolvedConfig & {
  readonly [Name in Key]-?: NonNullable<ResolvedConfig[Name]>;
};

/** What resolving needs to know beside the configuration itself. */
export interface ResolveOptions<Key extends ConfigKey = never> {
  /** All ranks of the run; 1 where left out. */
  readonly worldSize?: number;
  /** Keys that the caller cannot do without: `['model', 'data', 'steps']` for training. */
  readonly requires?: readonly Key[];
}

/** A configuration read from a file. */
export interface LoadedConfig<Key extends ConfigKey = never> {
  readonly config: ConfigWith<Key>;
  /** Where each setting came from, for errors found later and for printing. */
  readonly origin: ConfigOrigin;
  /** What was accepted and does not act as it seems: warnings to print. */
  readonly notes: readonly string[];
}

/**
 * Reads and resolves a configuration file. Each override is `key.path=value`, as given to `--set`.
 *
 * @throws TrainyardError CONFIG_UNREADABLE, USAGE (an override), or one error with every issue of the file:
 *   CONFIG_INVALID, CONFIG_UNSUPPORTED, CONFIG_CONFLICT.
 */
export function loadConfig<Key extends ConfigKey = never>(
  path: string,
  overrides: readonly string[] = [],
  options: ResolveOptions<Key> = {},
): LoadedConfig<Key> {
  const document = readJsonDocument(path);
  const flags = overrides.map(parseOverride);
  const written: JsonValue = isJsonObject(document.value)
    ? applyOverrides(document.value, flags)
    : document.value;
  const origin = fileOrigin(document, flags);
  return { ...resolved(written, origin, options), origin };
}

/**
 * Resolves a configuration given as an object. The input is not changed; the result is frozen.
 *
 * @throws TrainyardError CONFIG_INVALID, CONFIG_UNSUPPORTED or CONFIG_CONFLICT, with every issue and its path.
 */
export function resolveConfig<Key extends ConfigKey = never>(
  config: UserConfig,
  options: ResolveOptions<Key> = {},
): ConfigWith<Key> {
  return resolveObject(config, options).config;
}

/** As `resolveConfig`, with what the file of a run would have warned of. */
export function resolveObject<Key extends ConfigKey = never>(
  config: UserConfig,
  options: ResolveOptions<Key> = {},
): Omit<LoadedConfig<Key>, 'origin'> {
  const written = plainJson(config);
  const hasValue = (path: JsonPath) => path.reduce<JsonValue | undefined>(valueBelow, written) !== undefined;
  return resolved(written, codeOrigin(hasValue), options);
}

/** Gives the editor the type of a configuration written in TypeScript; returns it unchanged. */
export function defineConfig(config: UserConfig): UserConfig {
  return config;
}

function resolved<Key extends ConfigKey>(
  written: JsonValue,
  origin: ConfigOrigin,
  { worldSize = 1, requires = [] }: ResolveOptions<Key>,
): Omit<LoadedConfig<Key>, 'origin'> {
  const { config, notes } = resolve(written, { worldSize, origin, requires });
  // `resolve` refuses a configuration that lacks a required key, which is what the type says.
  return { config: config as ConfigWith<Key>, notes };
}

/** The object as JSON: keys whose value is undefined are as good as left out. */
function plainJson(value: unknown, path: JsonPath = []): JsonValue {
  if (path.length > DEEPEST_NESTING) throw notJson(path.slice(0, 3), 'an object nested without end');
  if (Array.isArray(value)) return value.map((item, index) => plainJson(item, [...path, index]));
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
      return value;
    case 'object': {
      if (value === null) return null;
      const entries = Object.entries(value).filter(([, below]) => below !== undefined);
      return Object.fromEntries(entries.map(([key, below]) => [key, plainJson(below, [...path, key])]));
    }
    default:
      throw notJson(path, `a ${typeof value}`);
  }
}

const DEEPEST_NESTING = 64;

function notJson(path: JsonPath, got: string): TrainyardError {
  return new TrainyardError('CONFIG_INVALID', {
    what: `${formatPath(path) || 'The configuration'} is not a JSON value.`,
    where: formatPath(path) || 'the configuration object',
    expected: 'text, a number, true, false, null, a list or an object',
    got,
  });
}

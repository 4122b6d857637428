import { TrainyardError } from '../../base/errors.js';
import {
  formatPath,
  isJsonObject,
  type JsonObject,
  type JsonPath,
  type JsonValue,
  parseJsonDocument,
} from '../../base/json-document.js';

/** One `--set key.path=value`. */
export interface Override {
  readonly path: JsonPath;
  readonly value: JsonValue;
  /** The flag as it was typed. */
  readonly text: string;
}

/**
 * Reads `key.path=value`. The value is JSON where it is valid JSON, and else the text itself, so that
 * `--set seed=3` is a number and `--set device=cuda` is text. A step of digits is an index: `data.path.0`.
 *
 * @throws TrainyardError USAGE when there is no `=`, a step is empty, or the value begins as JSON and is not.
 */
export function parseOverride(setting: string): Override {
  const text = `--set ${setting}`;
  const equals = setting.indexOf('=');
  const steps = setting.slice(0, Math.max(equals, 0)).split('.');
  if (equals < 1 || steps.some((step) => step === '' || step === '__proto__')) {
    throw new TrainyardError('USAGE', {
      what: `${text} names no setting.`,
      expected: '--set key.path=value, as in --set optimizer.params.lr=1e-4',
    });
  }
  return {
    path: steps.map((step) => (/^\d{1,6}$/.test(step) ? Number(step) : step)),
    value: parseValue(setting.slice(equals + 1), text),
    text,
  };
}

/**
 * The configuration with the overrides put in, in order; objects that are missing on the way are made.
 *
 * @throws TrainyardError USAGE when an override goes through something that is not an object, or past a list.
 */
export function applyOverrides(config: JsonObject, overrides: readonly Override[]): JsonObject {
  let result: JsonValue = config;
  for (const override of overrides) result = withValue(result, override.path, override, []);
  return isJsonObject(result) ? result : config;
}

function parseValue(value: string, name: string): JsonValue {
  const looksLikeJson = /^\s*["[{]/.test(value);
  try {
    return parseJsonDocument(value, name).value;
  } catch (error) {
    if (!looksLikeJson || !(error instanceof TrainyardError)) return value;
    throw new TrainyardError('USAGE', {
      what: `The value in ${name} is not valid JSON.`,
      ...(error.report.expected === undefined ? {} : { expected: error.report.expected }),
      ...(error.report.got === undefined ? {} : { got: error.report.got }),
      cure: 'Put the whole flag in single quotes, so that the shell leaves the value alone.',
    });
  }
}

function withValue(
  here: JsonValue | undefined,
  path: JsonPath,
  override: Override,
  done: JsonPath,
): JsonValue {
  const [step, ...rest] = path;
  if (step === undefined) return override.value;
  const below = [...done, step];
  if (Array.isArray(here) && typeof step === 'number' && step <= here.length) {
    const items: readonly JsonValue[] = here;
    return [...items.slice(0, step), withValue(items[step], rest, override, below), ...items.slice(step + 1)];
  }
  if (here === undefined || isJsonObject(here)) {
    const own = here !== undefined && Object.hasOwn(here, String(step)) ? here[String(step)] : undefined;
    return { ...here, [String(step)]: withValue(own, rest, override, below) };
  }
  throw new TrainyardError('USAGE', {
    what: `${override.text} cannot be applied.`,
    expected: Array.isArray(here)
      ? `an index up to ${here.length} in ${formatPath(done)}`
      : `an object at ${formatPath(done)}`,
    got: JSON.stringify(here)?.slice(0, 80) ?? 'nothing',
  });
}

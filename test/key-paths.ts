import type { JsonObject, JsonValue } from '../src/base/json-document.js';
import type { JsonSchema } from '../src/base/json-schema.js';

/** The same with another value at a path. */
export function withValue(
  object: JsonObject,
  [key = '', ...rest]: readonly string[],
  value: JsonValue,
): JsonObject {
  if (rest.length === 0) return { ...object, [key]: value };
  const inner = object[key];
  return { ...object, [key]: withValue((inner ?? {}) as JsonObject, rest, value) };
}

/** The paths of all values; a choice of objects by the constant that tells it from the others. */
export function leaves(schema: JsonSchema, path: string): readonly string[] {
  if (schema.properties !== undefined) {
    return Object.entries(schema.properties).flatMap(([key, below]) =>
      below.const === undefined ? leaves(below, path === '' ? key : `${path}.${key}`) : [],
    );
  }
  const choices = schema.oneOf ?? schema.anyOf ?? [];
  if (!choices.some(({ properties }) => properties)) return [path];
  return choices.flatMap((choice) => {
    const name = Object.values(choice.properties ?? {}).find((below) => below.const !== undefined)?.const;
    return leaves(choice, name === undefined ? path : `${path}[${String(name)}]`);
  });
}

import { z } from 'zod';
import { isJsonObject, type JsonPath, type JsonValue } from './json-document.js';

/** The part of JSON Schema (draft 2020-12) that our schemas use. */
export interface JsonSchema {
  readonly $schema?: string;
  readonly title?: string;
  readonly type?: string;
  readonly description?: string;
  readonly default?: JsonValue;
  readonly const?: JsonValue;
  readonly enum?: readonly JsonValue[];
  readonly minimum?: number;
  readonly multipleOf?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly exclusiveMaximum?: number;
  readonly minLength?: number;
  readonly minItems?: number;
  readonly items?: JsonSchema | false;
  readonly prefixItems?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: JsonSchema | boolean;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

/** The JSON Schema of what a zod schema takes in. */
export function jsonSchemaOf(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, {
    io: 'input',
    // A check that JSON Schema cannot express still has a type.
    unrepresentable: 'any',
    override: ({ jsonSchema }) => {
      // Every integer is bounded by what a double can hold; saying so of each helps nobody.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
      // Means that the value is never written back, which is true of every key.
      delete jsonSchema.readOnly;
    },
  }) as JsonSchema;
}

/**
 * The schema of the value at `path`. Where the way passes a choice, `value` (the whole document) decides by
 * the choice's constant keys, such as an optimizer's `type`.
 */
export function schemaAt(
  schema: JsonSchema,
  path: JsonPath,
  value: JsonValue | undefined,
): JsonSchema | undefined {
  const [step, ...rest] = path;
  if (step === undefined) return schema;
  for (const branch of branchesFor(schema, value)) {
    const below = childOf(branch, step);
    const found = below && schemaAt(below, rest, valueBelow(value, step));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The names of the keys that an object at this schema may have. */
export function keysOf(schema: JsonSchema, value?: JsonValue): readonly string[] {
  return [...new Set(branchesFor(schema, value).flatMap((branch) => Object.keys(branch.properties ?? {})))];
}

/** What a schema accepts, in words: `an integer ≥ 1`, `one of "log", "linear"`. */
export function describeSchema(schema: JsonSchema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined)
    return `one of ${schema.enum.map((value) => JSON.stringify(value)).join(', ')}`;
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return [...new Set(choices.map(describeSchema))].join(' or ');
  switch (schema.type) {
    case 'integer':
      return `an integer${describeRange(schema)}${describeStep(schema)}`;
    case 'number':
      return `a number${describeRange(schema)}`;
    case 'string':
      return (schema.minLength ?? 0) > 0 ? 'non-empty text' : 'text';
    case 'boolean':
      return 'true or false';
    case 'array':
      return describeList(schema);
    case 'object':
      return 'an object';
    default:
      return 'a value';
  }
}

function describeRange(schema: JsonSchema): string {
  const bounds = [
    schema.minimum !== undefined ? `≥ ${schema.minimum}` : undefined,
    schema.exclusiveMinimum !== undefined ? `> ${schema.exclusiveMinimum}` : undefined,
    schema.maximum !== undefined ? `≤ ${schema.maximum}` : undefined,
    schema.exclusiveMaximum !== undefined ? `< ${schema.exclusiveMaximum}` : undefined,
  ].filter((bound) => bound !== undefined);
  return bounds.length === 0 ? '' : ` ${bounds.join(' and ')}`;
}

function describeStep({ multipleOf = 1 }: JsonSchema): string {
  return multipleOf === 1 ? '' : `, a multiple of ${multipleOf}`;
}

function describeList(schema: JsonSchema): string {
  const first = schema.prefixItems?.[0];
  if (first !== undefined) return `a list of ${schema.prefixItems?.length}, each ${describeSchema(first)}`;
  const item = schema.items ? `, each ${describeSchema(schema.items)}` : '';
  return (schema.minItems ?? 0) > 0 ? `a list of at least ${schema.minItems}${item}` : `a list${item}`;
}

function branchesFor(schema: JsonSchema, value: JsonValue | undefined): readonly JsonSchema[] {
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices === undefined) return [schema];
  const branches = choices.flatMap((choice) => branchesFor(choice, value));
  const chosen = branches.filter(
    (branch) => branch.properties === undefined || constantsMatch(branch, value),
  );
  return chosen.length > 0 ? chosen : branches;
}

function constantsMatch(schema: JsonSchema, value: JsonValue | undefined): boolean {
  return Object.entries(schema.properties ?? {}).every(
    ([key, property]) => property.const === undefined || property.const === valueBelow(value, key),
  );
}

function childOf(schema: JsonSchema, step: string | number): JsonSchema | undefined {
  if (typeof step === 'number') return schema.prefixItems?.[step] ?? (schema.items || undefined);
  const properties = schema.properties;
  return properties !== undefined && Object.hasOwn(properties, step) ? properties[step] : undefined;
}

/** The value one step further down, or undefined where there is none. */
export function valueBelow(value: JsonValue | undefined, step: string | number): JsonValue | undefined {
  if (Array.isArray(value)) return typeof step === 'number' ? value[step] : undefined;
  return isJsonObject(value) && typeof step === 'string' && Object.hasOwn(value, step)
    ? value[step]
    : undefined;
}

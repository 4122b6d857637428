import type { JsonValue } from '../../base/json-document.js';
import type { JsonSchema } from '../../base/json-schema.js';
import type { KeyRow, KeySection, KeyTable, RefusedValues } from './key-table.js';
import { knownKeys } from './known-keys.js';
import { keysOfSection } from './unknown-key.js';
import { OWN_KEYS } from './verdicts.js';

/**
 * The JSON Schema of a configuration file, for editors: what the schemas declare, less the values that are
 * refused so far, and with the keys of DeepSpeed's that are accepted while they ask for nothing.
 */
export function configJsonSchema(): JsonSchema {
  const { $schema, ...root } = withTable(knownKeys.schema, knownKeys.table, []);
  return { ...($schema === undefined ? {} : { $schema }), title: 'Trainyard configuration', ...root };
}

type Path = readonly string[];

function withTable(schema: JsonSchema, table: KeyTable, path: Path): JsonSchema {
  if (schema.oneOf !== undefined) {
    return { ...schema, oneOf: schema.oneOf.map((choice) => withTable(choice, table, path)) };
  }
  if (schema.properties === undefined) return schema;
  const declared = Object.entries(schema.properties).map(([key, property]): [string, JsonSchema] => [
    key,
    publishedKey(property, Object.hasOwn(table, key) ? table[key] : undefined, [...path, key]),
  ]);
  const properties = Object.fromEntries(declared);
  return { ...schema, properties: { ...properties, ...acceptedKeys(table, properties) } };
}

function publishedKey(schema: JsonSchema, row: KeyRow | undefined, path: Path): JsonSchema {
  const possible = row?.kind === 'values' ? withoutRefused(schema, row.values) : schema;
  if (isSection(possible)) return withTable(possible, row?.kind === 'section' ? row.keys : {}, path);
  const [top] = path;
  const isOwn = top !== undefined && OWN_KEYS.includes(top);
  return isOwn || possible.const !== undefined ? possible : orAuto(possible);
}

function isSection(schema: JsonSchema): boolean {
  return schema.properties !== undefined || (schema.oneOf ?? schema.anyOf ?? []).some(isSection);
}

/** DeepSpeed's "auto" is the default, wherever it stands. */
function orAuto({ description, default: standard, ...rest }: JsonSchema): JsonSchema {
  return {
    ...(description === undefined ? {} : { description }),
    ...(standard === undefined ? {} : { default: standard }),
    anyOf: [rest, { const: 'auto' }],
  };
}

function withoutRefused(schema: JsonSchema, values: RefusedValues['values']): JsonSchema {
  if ('above' in values) return { ...schema, maximum: values.above };
  if (schema.enum === undefined) return schema;
  return { ...schema, enum: schema.enum.filter((value) => !values.includes(value)) };
}

/** The keys of a table that are accepted at some value, which no schema declares. */
function acceptedKeys(table: KeyTable, declared: object): Record<string, JsonSchema> {
  const entries = Object.entries(table).flatMap(([key, row]): [string, JsonSchema][] => {
    const accepted = Object.hasOwn(declared, key) ? undefined : acceptedRow(row);
    return accepted === undefined ? [] : [[key, accepted]];
  });
  return Object.fromEntries(entries);
}

function acceptedRow(row: KeyRow): JsonSchema | undefined {
  switch (row.kind) {
    case 'values':
      return undefined;
    case 'key':
      return row.acceptsStandard ? only(row.standard, row.why) : undefined;
    case 'section':
      return row.switch === undefined ? acceptedSection(row) : sectionThatIsOff(row, row.switch);
    default:
      return row satisfies never;
  }
}

function acceptedSection(section: KeySection): JsonSchema | undefined {
  const properties = acceptedKeys(section.keys, {});
  if (Object.keys(properties).length === 0) return undefined;
  return { type: 'object', properties, additionalProperties: false };
}

function sectionThatIsOff(
  section: KeySection,
  { key, off, why }: NonNullable<KeySection['switch']>,
): JsonSchema {
  const inert = Object.keys(keysOfSection(section)).map((name): [string, JsonSchema] => [name, {}]);
  return {
    type: 'object',
    description: `Accepted while it is off: ${why}.`,
    properties: { ...Object.fromEntries(inert), [key]: only(off, why) },
    additionalProperties: false,
  };
}

function only(value: JsonValue, why: string): JsonSchema {
  return { description: `Accepted at this value, which asks for nothing: ${why}.`, enum: [value, 'auto'] };
}

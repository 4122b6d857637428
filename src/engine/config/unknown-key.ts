import { formatPath, type JsonPath, type JsonValue } from '../../base/json-document.js';
import { type JsonSchema, keysOf, schemaAt, valueBelow } from '../../base/json-schema.js';
import { nearestNames, sameNameButForASlip } from '../../base/nearest-names.js';
import { quote } from '../../base/printable.js';
import type { ConfigIssue } from './issue.js';
import type { KeySection, KeyTable } from './key-table.js';
import type { KnownKeys } from './known-keys.js';

/**
 * The issue of a key that nobody knows, with the nearest name: of the same section, or of one that lives
 * elsewhere. A key that is refused is named only where it was surely meant: it would not help.
 */
export function unknownKey(path: JsonPath, document: JsonValue, known: KnownKeys): ConfigIssue {
  const section = path.slice(0, -1);
  const name = String(path.at(-1));
  const acting = actingKeys(section, document, known);
  const refused = Object.keys(tableAt(known.table, section) ?? {});
  const shown = acting.length > 0 ? acting : refused;
  const owners = choicesWith(path, document, known);
  const named = formatPath(section);
  return {
    code: 'CONFIG_INVALID',
    path,
    part: 'key',
    what: `Unknown key ${quote(name)}${named === '' ? '' : ` in ${named}`}.`,
    ...(shown.length === 0 ? {} : { expected: `one of ${listed(shown)}` }),
    cure: owners === undefined ? cureOf(name, acting, refused, known) : `Remove it; it goes with ${owners}.`,
  };
}

function cureOf(
  name: string,
  acting: readonly string[],
  refused: readonly string[],
  known: KnownKeys,
): string {
  const near = nearest(name, acting, refused) ?? elsewhere(name, known);
  return near === undefined ? 'Remove it.' : `Did you mean "${near}"?`;
}

/** Where a section is one of several, those that do have the key: `policy "always" or "selected"`. */
function choicesWith(path: JsonPath, document: JsonValue, known: KnownKeys): string | undefined {
  const schema = schemaAt(known.schema, path.slice(0, -1), document);
  const name = String(path.at(-1));
  const fitting = (schema?.oneOf ?? schema?.anyOf ?? []).flatMap(({ properties = {} }) =>
    Object.hasOwn(properties, name) ? [Object.entries(properties)] : [],
  );
  const constants = fitting.flatMap((entries) => entries.filter(([, below]) => below.const !== undefined));
  const [tag] = constants[0] ?? [];
  if (tag === undefined) return undefined;
  return `${tag} ${constants.map(([, below]) => JSON.stringify(below.const)).join(' or ')}`;
}

function actingKeys(section: JsonPath, document: JsonValue, known: KnownKeys): readonly string[] {
  const schema = schemaAt(known.schema, section, document);
  return schema === undefined ? [] : keysOf(schema, valueAt(document, section));
}

function nearest(name: string, acting: readonly string[], refused: readonly string[]): string | undefined {
  return sameNameButForASlip(name, [...acting, ...refused]) ?? nearestNames(name, acting, 1)[0];
}

function elsewhere(name: string, known: KnownKeys): string | undefined {
  const acting = schemaPaths(known.schema, []);
  const refused = tablePaths(known.table, []);
  const lastStep = (path: JsonPath): string => String(path.at(-1));
  const close = nearest(name, acting.map(lastStep), refused.map(lastStep));
  const found =
    close === undefined ? undefined : [...acting, ...refused].find((path) => lastStep(path) === close);
  return found && formatPath(found);
}

function schemaPaths(schema: JsonSchema, path: JsonPath): readonly JsonPath[] {
  const here = Object.entries(schema.properties ?? {}).flatMap(([key, property]) => {
    const below = [...path, key];
    return [below, ...schemaPaths(property, below)];
  });
  return [
    ...here,
    ...[...(schema.oneOf ?? []), ...(schema.anyOf ?? [])].flatMap((choice) => schemaPaths(choice, path)),
  ];
}

function tablePaths(table: KeyTable, path: JsonPath): readonly JsonPath[] {
  return Object.entries(table).flatMap(([key, row]) => {
    const below = [...path, key];
    return row.kind === 'section' ? [below, ...tablePaths(keysOfSection(row), below)] : [below];
  });
}

/** The keys of a section, its switch among them. */
export function keysOfSection(section: KeySection): KeyTable {
  if (section.switch === undefined) return section.keys;
  const { key, off, why } = section.switch;
  return {
    [key]: { kind: 'key', verdict: 'not supported yet', why, standard: off, acceptsStandard: true },
    ...section.keys,
  };
}

function tableAt(table: KeyTable, path: JsonPath): KeyTable | undefined {
  let here: KeyTable | undefined = table;
  for (const step of path) {
    const row: KeyTable[string] | undefined =
      here !== undefined && Object.hasOwn(here, step) ? here[step] : undefined;
    here = row?.kind === 'section' ? keysOfSection(row) : undefined;
  }
  return here;
}

function valueAt(value: JsonValue, path: JsonPath): JsonValue | undefined {
  return path.reduce<JsonValue | undefined>(valueBelow, value);
}

function listed(names: readonly string[]): string {
  const most = 12;
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown}, … (see docs/config.md)` : shown;
}

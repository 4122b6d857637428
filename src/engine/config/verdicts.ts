import { isDeepStrictEqual } from 'node:util';
import { show } from '../../base/explain-issues.js';
import {
  formatPath,
  isJsonObject,
  type JsonObject,
  type JsonPath,
  type JsonValue,
} from '../../base/json-document.js';
import { schemaAt } from '../../base/json-schema.js';
import type { ConfigIssue } from './issue.js';
import type { KeyRow, KeySection, KeyTable, RefusedKey, RefusedValues, Verdict } from './key-table.js';
import type { KnownKeys } from './known-keys.js';
import { keysOfSection, unknownKey } from './unknown-key.js';

/** What is left for the schemas once the tables have judged, and what the tables refused. */
export interface Judged {
  readonly value: JsonObject;
  readonly issues: readonly ConfigIssue[];
}

/** Trainyard's own keys, in which "auto" is a text like any other. In DeepSpeed's it means: the default. */
export const OWN_KEYS: readonly string[] = [
  '$schema',
  'model',
  'data',
  'steps',
  'seed',
  'device',
  'output',
  'mesh',
  'communication',
  'non_finite',
  'recompute',
  'redundancy',
];

/** Judges every key that has a row; keys that ask for nothing are dropped, the others stay for the schemas. */
export function judge(document: JsonObject, known: KnownKeys): Judged {
  const judgement = new Judgement(document, known);
  const value = judgement.section(document, known.table, [], false);
  return { value, issues: judgement.issues };
}

const SENTENCES: Readonly<Record<Verdict, string>> = {
  'not supported yet': 'is not supported yet',
  'does nothing in DeepSpeed': 'does nothing in DeepSpeed',
  removed: 'was removed',
  'does not apply here': 'does not apply here',
};

class Judgement {
  readonly issues: ConfigIssue[] = [];

  constructor(
    private readonly document: JsonObject,
    private readonly known: KnownKeys,
  ) {}

  /** Judges one object; returns the part of it that the schemas declare. */
  section(object: JsonObject, table: KeyTable, path: JsonPath, takesAuto: boolean): JsonObject {
    const left: [string, JsonValue][] = [];
    for (const [key, value] of Object.entries(object)) {
      const below = [...path, key];
      const auto = takesAuto || (path.length === 0 && !OWN_KEYS.includes(key));
      const kept = this.key(value, Object.hasOwn(table, key) ? table[key] : undefined, below, auto);
      if (kept !== undefined) left.push([key, kept]);
    }
    return Object.fromEntries(left);
  }

  private key(
    value: JsonValue,
    row: KeyRow | undefined,
    path: JsonPath,
    auto: boolean,
  ): JsonValue | undefined {
    if (auto && value === 'auto' && this.isDeclared(path)) return undefined;
    switch (row?.kind) {
      case undefined:
        return this.isDeclared(path) ? value : this.refuseUnknown(path);
      case 'key':
        return this.refusedKey(value, row, path);
      case 'values':
        return this.refusedValues(value, row, path);
      case 'section':
        return this.subsection(value, row, path, auto);
      default:
        return row satisfies never;
    }
  }

  private subsection(
    value: JsonValue,
    row: KeySection,
    path: JsonPath,
    auto: boolean,
  ): JsonValue | undefined {
    const declared = this.isDeclared(path);
    if (!isJsonObject(value)) {
      if (declared) return value;
      if (value !== null) this.refuseType(value, 'an object', path);
      return undefined;
    }
    if (row.switch === undefined) {
      const left = this.section(value, row.keys, path, auto);
      return declared ? left : undefined;
    }
    this.switchedSection(value, row, row.switch, path);
    return undefined;
  }

  /** A switch that is on is the one thing to report; one that is off makes the section inert. */
  private switchedSection(
    value: JsonObject,
    row: KeySection,
    { key, off, why }: NonNullable<KeySection['switch']>,
    path: JsonPath,
  ) {
    const position = value[key];
    if (position === undefined || position === null || position === 'auto' || position === off) {
      this.namesAndTypes(value, row, path);
    } else if (typeof position !== typeof off) {
      this.refuseType(position, typeName(off), [...path, key]);
    } else {
      this.issues.push({
        code: 'CONFIG_UNSUPPORTED',
        path: [...path, key],
        part: 'value',
        what: `${formatPath(path)} is not supported yet: ${why}.`,
        got: show(position),
        cure: `Remove ${formatPath(path)}, or set ${formatPath([...path, key])} to ${show(off)}.`,
      });
    }
  }

  private namesAndTypes(value: JsonObject, row: KeySection, path: JsonPath): void {
    const keys = keysOfSection(row);
    for (const [key, below] of Object.entries(value)) {
      const inner = Object.hasOwn(keys, key) ? keys[key] : undefined;
      if (inner === undefined) this.refuseUnknown([...path, key]);
      else if (inner.kind === 'section' && isJsonObject(below))
        this.namesAndTypes(below, inner, [...path, key]);
      else if (inner.kind === 'key' && !hasTypeOf(below, inner.standard)) {
        this.refuseType(below, typeName(inner.standard), [...path, key]);
      }
    }
  }

  private refusedKey(value: JsonValue, row: RefusedKey, path: JsonPath): undefined {
    const asksForNothing =
      row.acceptsStandard && (value === 'auto' || isDeepStrictEqual(value, row.standard));
    if (asksForNothing) return undefined;
    if (row.verdict === 'not supported yet' && !hasTypeOf(value, row.standard)) {
      return this.refuseType(value, typeName(row.standard), path);
    }
    this.issues.push({
      code: 'CONFIG_UNSUPPORTED',
      path,
      part: row.acceptsStandard ? 'value' : 'key',
      what: `${formatPath(path)} ${SENTENCES[row.verdict]}: ${row.why}.`,
      got: show(value),
      cure: row.acceptsStandard ? `Remove it, or set it to ${show(row.standard)}.` : 'Remove it.',
    });
    return undefined;
  }

  private refusedValues(value: JsonValue, row: RefusedValues, path: JsonPath): JsonValue | undefined {
    const refused = isRefused(value, row.values);
    if (!refused) return value;
    this.issues.push({
      code: 'CONFIG_UNSUPPORTED',
      path,
      part: 'value',
      what: `${formatPath(path)}: ${show(value)} is not supported yet: ${row.why}.`,
      got: show(value),
    });
    return undefined;
  }

  private isDeclared(path: JsonPath): boolean {
    return schemaAt(this.known.schema, path, this.document) !== undefined;
  }

  private refuseUnknown(path: JsonPath): undefined {
    this.issues.push(unknownKey(path, this.document, this.known));
    return undefined;
  }

  private refuseType(value: JsonValue, expected: string, path: JsonPath): undefined {
    this.issues.push({
      code: 'CONFIG_INVALID',
      path,
      part: 'value',
      what: `${formatPath(path)} has the wrong type.`,
      expected,
      got: show(value),
    });
    return undefined;
  }
}

function isRefused(value: JsonValue, values: RefusedValues['values']): boolean {
  if ('above' in values) return typeof value === 'number' && value > values.above;
  return values.some((refused) => sameName(refused, value));
}

/** DeepSpeed compares names of optimizers without regard to case. */
function sameName(left: JsonValue, right: JsonValue): boolean {
  return typeof left === 'string' && typeof right === 'string'
    ? left.toLowerCase() === right.toLowerCase()
    : left === right;
}

function hasTypeOf(value: JsonValue, standard: JsonValue): boolean {
  if (standard === null || standard === 'auto' || value === null || value === 'auto') return true;
  return typeName(value) === typeName(standard);
}

function typeName(value: JsonValue): string {
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'boolean':
      return 'true or false';
    case 'number':
      return 'a number';
    case 'string':
      return 'text';
    default:
      return 'an object';
  }
}

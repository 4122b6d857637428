import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JsonObject, JsonValue } from '../../base/json-document.js';
import type { KeyTable, RefusedKey } from './key-table.js';
import { knownKeys } from './known-keys.js';
import { judge } from './verdicts.js';

interface Row {
  readonly path: readonly string[];
  readonly row: RefusedKey;
}

/** The rows that stand alone: not inside a section with a switch. */
function plainRows(table: KeyTable, path: readonly string[] = []): readonly Row[] {
  return Object.entries(table).flatMap(([key, row]) => {
    const below = [...path, key];
    if (row.kind === 'section' && row.switch === undefined) return plainRows(row.keys, below);
    return row.kind === 'key' ? [{ path: below, row }] : [];
  });
}

function judgeAt(path: readonly string[], value: JsonValue): ReturnType<typeof judge> {
  const document = path.reduceRight<JsonValue>((inner, key) => ({ [key]: inner }), value) as JsonObject;
  return judge(document, knownKeys);
}

test('a key at the value that asks for nothing is accepted exactly where its row says so', () => {
  for (const { path, row } of plainRows(knownKeys.table)) {
    const { issues } = judgeAt(path, row.standard);
    assert.equal(issues.length, row.acceptsStandard ? 0 : 1, path.join('.'));
  }
});

test('a key at another value is never swallowed', () => {
  for (const { path, row } of plainRows(knownKeys.table)) {
    const { issues } = judgeAt(path, another(row.standard));
    assert.equal(issues[0]?.code, 'CONFIG_UNSUPPORTED', path.join('.'));
    assert.deepEqual(issues[0]?.path, path);
  }
});

test('a section with a switch is accepted while it is off, and is one issue once it is on', () => {
  for (const [name, row] of Object.entries(knownKeys.table)) {
    if (row.kind !== 'section' || row.switch === undefined) continue;
    const standards = Object.entries(row.keys).flatMap(([key, inner]) =>
      inner.kind === 'key' ? [[key, inner.standard] as const] : [],
    );
    const { key, off } = row.switch;
    const section = Object.fromEntries(standards);
    assert.deepEqual(judgeAt([name], section).issues, [], name);
    assert.deepEqual(judgeAt([name], { ...section, [key]: off }).issues, [], name);
    assert.deepEqual(judgeAt([name], { ...section, [key]: 'auto' }).issues, [], name);
    const on = judgeAt([name], { ...section, [key]: another(off) }).issues;
    assert.deepEqual(
      on.map(({ code, path }) => ({ code, path })),
      [{ code: 'CONFIG_UNSUPPORTED', path: [name, key] }],
    );
  }
});

test('"auto" takes the default of a key of DeepSpeed, and is only a text elsewhere', () => {
  assert.deepEqual(judgeAt(['optimizer', 'params', 'lr'], 'auto'), {
    value: { optimizer: { params: {} } },
    issues: [],
  });
  assert.deepEqual(judgeAt(['train_batch_size'], 'auto').value, {});
  assert.deepEqual(judgeAt(['output'], 'auto').value, { output: 'auto' });
});

/** Another value of the same type. */
function another(value: JsonValue): JsonValue {
  switch (typeof value) {
    case 'boolean':
      return !value;
    case 'number':
      return value + 1;
    case 'string':
      return `${value}-other`;
    default:
      return Array.isArray(value) ? [...value, 1] : { other: 1 };
  }
}

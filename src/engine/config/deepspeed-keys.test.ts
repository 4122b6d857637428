import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { schemaAt } from '../../base/json-schema.js';
import { deepSpeedKeys } from './deepspeed-keys.js';
import type { KeyTable } from './key-table.js';
import { knownKeys } from './known-keys.js';
import { keysOfSection } from './unknown-key.js';

function deepSpeedPaths(): readonly string[] {
  const file = new URL('../../../../test/fixtures/deepspeed-keys.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { keys: readonly string[] }).keys;
}

function hasRow(table: KeyTable, [step, ...rest]: readonly string[]): boolean {
  if (step === undefined) return true;
  const row = table[step];
  if (row === undefined) return false;
  return row.kind === 'section' ? hasRow(keysOfSection(row), rest) : rest.length === 0;
}

test("every key of DeepSpeed's either acts or has a row that says why not", () => {
  const { schema, table } = knownKeys;
  const lost = deepSpeedPaths().filter((path) => {
    const steps = path.split('.');
    return schemaAt(schema, steps, undefined) === undefined && !hasRow(table, steps);
  });
  assert.deepEqual(lost, []);
});

test('no key has both a schema and a row that refuses it', () => {
  const { schema } = knownKeys;
  const both: string[] = [];
  const visit = (table: KeyTable, path: readonly string[]) => {
    for (const [key, row] of Object.entries(table)) {
      const below = [...path, key];
      if (row.kind === 'section') visit(keysOfSection(row), below);
      else if (row.kind === 'key' && schemaAt(schema, below, undefined) !== undefined)
        both.push(below.join('.'));
    }
  };
  visit(deepSpeedKeys, []);
  assert.deepEqual(both, []);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatPath, type JsonPath, type JsonValue, parseJsonDocument } from './json-document.js';
import { valueBelow } from './json-schema.js';

test('comments, trailing commas and a byte order mark are allowed', () => {
  const text = '\uFEFF{ // one\n  "a": [1, 2,], /* two */\n  "b": {"c": null,},\n}';
  const document = parseJsonDocument(text, 'run.json');
  assert.deepEqual(document.value, { a: [1, 2], b: { c: null } });
  assert.deepEqual(document.locate(['a', 1], 'value'), { line: 2, column: 12 });
  assert.deepEqual(document.locate(['b', 'c'], 'key'), { line: 3, column: 9 });
  assert.deepEqual(document.locate(['b', 'c'], 'value'), { line: 3, column: 14 });
  assert.equal(document.locate(['b', 'd'], 'value'), undefined);
});

test('any JSON text is read as JSON.parse reads it, and every value is found at its place', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.constantFrom(undefined, 1, 3), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      const expected = JSON.parse(text) as JsonValue;
      fc.pre(!text.includes('"__proto__"'));
      const document = parseJsonDocument(text, 'any');
      assert.deepEqual(document.value, expected);
      const lines = text.split('\n');
      for (const path of leavesOf(expected)) {
        const position = document.locate(path, 'value');
        assert.ok(position !== undefined, formatPath(path));
        const written = JSON.stringify(path.reduce<JsonValue | undefined>(valueBelow, expected));
        assert.ok(lines[position.line - 1]?.startsWith(written, position.column - 1), formatPath(path));
      }
    }),
  );
});

/** The paths of the values that hold no others. */
function leavesOf(value: JsonValue, path: JsonPath = []): readonly JsonPath[] {
  if (typeof value !== 'object' || value === null) return [path];
  const steps: readonly (readonly [string | number, JsonValue])[] = Array.isArray(value)
    ? value.map((item, index) => [index, item] as const)
    : Object.entries(value);
  return steps.flatMap(([step, below]) => leavesOf(below, [...path, step]));
}

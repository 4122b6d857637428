import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/**
 * Reads, in a process of its own, a header of the largest permitted size that repeats `unit` (with `#`
 * replaced by a counter), and gives back how it was refused and how much memory the process took on top.
 */
function readHostileHeader(
  start: string,
  unit: string,
): { readonly rule: string; readonly extraBytes: number } {
  const program = fileURLToPath(new URL('./store-hostile-header.program.js', import.meta.url));
  const child = spawnSync(process.execPath, [program, start, unit], { encoding: 'utf8' });
  assert.equal(child.status, 0, child.stderr);
  return JSON.parse(child.stdout);
}

const MEBIBYTE = 1024 * 1024;

for (const [what, start, unit, rule] of [
  [
    'tensors without end',
    '{',
    '"#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},',
    /must remember stays below/,
  ],
  ['one endless name', '{"', 'abcdefgh', /a string has at most/],
  ['one endless shape', '{"a":{"shape":[', '1,', /must remember stays below/],
  ['brackets without end', '{"a":{"shape":[', '[', /a whole number/],
  ['spaces without end', '{', '        ', /a string/],
  ['escapes without end', '{"', '\\ud83d\\ude00', /a string has at most/],
] as const) {
  test(`a header of 100 MB with ${what} is refused in bounded memory`, () => {
    const refusal = readHostileHeader(start, unit);
    assert.match(refusal.rule, rule);
    assert.ok(refusal.extraBytes < 192 * MEBIBYTE, `${Math.round(refusal.extraBytes / MEBIBYTE)} MiB more`);
  });
}

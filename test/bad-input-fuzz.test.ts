import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../src/base/errors.js';
import { loadConfig, resolveConfig, type UserConfig } from '../src/engine/config.js';
import { configurations } from './fuzz/configurations.js';
import { assertFuzzed, fuzz, type MakeFuzzer } from './fuzz/fuzz.js';
import { headers } from './fuzz/headers.js';
import { tokenizers } from './fuzz/tokenizers.js';
import { memoryFolder } from './memory-folder.js';
import { richConfiguration } from './rich-configuration.js';

const folder = memoryFolder('trainyard-fuzz-');
after(() => rmSync(folder, { recursive: true }));

const rich = richConfiguration;

/** Accepted, or one error that a person can read: never a crash, never a bare exception. */
function acceptedOrExplained(attempt: () => unknown): void {
  try {
    attempt();
  } catch (error) {
    if (!(error instanceof TrainyardError)) throw error;
    assert.equal(error.exitCode, 2);
    assert.ok(error.message.length > 10 && error.message.length < 20_000);
    assert.doesNotMatch(error.message, /^ +at .*\.[jt]s:\d+|undefined|\[object Object\]/m);
  }
}

test('a value of any shape, anywhere in a configuration, is accepted or explained', () => {
  const paths = pathsOf(rich);
  fc.assert(
    fc.property(fc.constantFrom(...paths), fc.jsonValue({ maxDepth: 3 }), (path, value) => {
      acceptedOrExplained(() => resolveConfig(withValue(rich, path, value) as UserConfig, { worldSize: 2 }));
    }),
    { numRuns: 2000 },
  );
});

test('a key of any name, anywhere in a configuration, is accepted or explained', () => {
  const sections = pathsOf(rich).map((path) => path.slice(0, -1));
  fc.assert(
    fc.property(
      fc.constantFrom(...sections),
      fc.string(),
      fc.jsonValue({ maxDepth: 2 }),
      (section, key, value) => {
        acceptedOrExplained(() => resolveConfig(withValue(rich, [...section, key], value) as UserConfig));
      },
    ),
    { numRuns: 1000 },
  );
});

test('a file damaged at random is accepted or explained', () => {
  const text = JSON.stringify(rich, null, 1);
  const file = join(folder, 'damaged.json');
  const damage = fc.record({
    at: fc.nat(text.length),
    remove: fc.nat(6),
    insert: fc.oneof(
      fc.string({ maxLength: 4 }),
      fc.constantFrom('{', '}', '[', ']', '"', ',', ':', '\\', '//', '/*'),
    ),
  });
  fc.assert(
    fc.property(fc.array(damage, { minLength: 1, maxLength: 4 }), (damages) => {
      const damaged = damages.reduce(
        (before, { at, remove, insert }) => before.slice(0, at) + insert + before.slice(at + remove),
        text,
      );
      writeFileSync(file, damaged);
      acceptedOrExplained(() => loadConfig(file));
    }),
    { numRuns: 1000 },
  );
});

test('a file of any bytes is accepted or explained', () => {
  const file = join(folder, 'bytes.json');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      writeFileSync(file, bytes);
      acceptedOrExplained(() => loadConfig(file));
    }),
    { numRuns: 500 },
  );
});

test('any --set flag is accepted or explained', () => {
  const file = join(folder, 'rich.json');
  writeFileSync(file, JSON.stringify(rich));
  const paths = fc.oneof(
    fc.string(),
    fc.constantFrom(...pathsOf(rich)).map((path) => path.join('.')),
  );
  const values = fc.oneof(
    fc.string(),
    fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(paths, values, (path, value) =>
      acceptedOrExplained(() => loadConfig(file, [`${path}=${value}`])),
    ),
    { numRuns: 1000 },
  );
});

test('objects that are no JSON are explained', () => {
  const circular: Record<string, unknown> = {};
  circular.model = circular;
  for (const value of [
    circular,
    { steps: 1n },
    { steps: () => 1 },
    { model: { architecture: Symbol('x') } },
    null,
    3,
  ]) {
    acceptedOrExplained(() => resolveConfig(value as UserConfig));
    assert.throws(() => resolveConfig(value as UserConfig), TrainyardError);
  }
});

/** A thin slice of `node dist/test/fuzz-inputs.js`. Of configurations those above are some, of headers most are in header.test.ts. */
const SLICES: readonly (readonly [name: string, make: MakeFuzzer, rounds: number])[] = [
  ['configurations', configurations, 4500],
  ['safetensors files', headers, 1000],
  ['tokenizers', tokenizers, 5000],
];

for (const [name, make, rounds] of SLICES) {
  test(`${rounds} ${name} are used or refused in words, soon, and lead to no other file`, () => {
    const own = mkdtempSync(join(folder, 'kind-'));
    assertFuzzed(fuzz(make, own, { seed: 1, first: 0, rounds }));
  });
}

type Path = readonly (string | number)[];

function pathsOf(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  const below = Object.entries(value).flatMap(([key, inner]) => pathsOf(inner, [...path, key]));
  return path.length === 0 ? below : [path, ...below];
}

function withValue(value: unknown, [step, ...rest]: Path, replacement: unknown): unknown {
  if (step === undefined) return replacement;
  const object = typeof value === 'object' && value !== null ? value : {};
  const inner = Object.entries(object).find(([key]) => key === String(step))?.[1];
  const changed = withValue(inner, rest, replacement);
  if (!Array.isArray(value)) return { ...object, [step]: changed };
  return value.map((item, index) => (index === Number(step) ? changed : item));
}

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../../base/errors.js';
import { globToRegExp } from './glob.js';
import { listFiles } from './list-files.js';

describe('globToRegExp', () => {
  const cases: readonly (readonly [
    pattern: string,
    matches: readonly string[],
    misses: readonly string[],
  ])[] = [
    ['*.txt', ['a.txt', 'a.b.txt'], ['a/b.txt', '.a.txt', 'atxt', 'a.txt2']],
    ['**/*.txt', ['a.txt', 'a/b.txt', 'a/b/c.txt'], ['a/.b/c.txt', 'a/b.md']],
    ['a/**', ['a/b', 'a/b/c.d'], ['a', 'b/a', 'a/.hidden']],
    ['a/**/z', ['a/z', 'a/b/c/z'], ['az', 'a/b/zz']],
    ['?.{ts,js}', ['a.ts', 'b.js'], ['ab.ts', 'a.tsx', '.ts']],
    ['[a-c]x', ['ax', 'cx'], ['dx', 'x']],
    ['[!a-c]x', ['dx'], ['ax', '/x']],
    ['a+(b).txt', ['a+(b).txt'], ['aab.txt']],
    ['a[', ['a['], ['a']],
    ['中*', ['中文'], ['文']],
  ];
  for (const [pattern, matches, misses] of cases) {
    it(pattern, () => {
      const expression = globToRegExp(pattern);
      for (const path of matches) assert.ok(expression.test(path), `${pattern} should match ${path}`);
      for (const path of misses) assert.ok(!expression.test(path), `${pattern} should not match ${path}`);
    });
  }

  it('reads a run of stars as one, so that it matches without backtracking', () => {
    assert.ok(!globToRegExp(`${'*'.repeat(40)}x`).test('a'.repeat(10_000)));
  });
});

describe('listFiles', () => {
  let root = '';
  before(() => {
    root = mkdtempSync(join(tmpdir(), 'trainyard-list-'));
    const names = [
      'b.txt',
      'a.txt',
      'deep/er/c.md',
      'deep/d.bin',
      '.hidden/e.txt',
      'node_modules/f.txt',
      'g.jsonl',
    ];
    for (const name of names) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), name);
    }
    mkdirSync(join(root, 'empty'));
    symlinkSync(root, join(root, 'loop'));
    symlinkSync(join(root, 'a.txt'), join(root, 'link.txt'));
  });
  after(() => rmSync(root, { recursive: true }));
  const list = (...paths: string[]): string[] => listFiles(paths, root).map((file) => relative(root, file));

  it('searches a folder for known kinds, sorted, without hidden entries and packages', () => {
    assert.deepEqual(list('.'), ['a.txt', 'b.txt', 'deep/er/c.md', 'g.jsonl', 'link.txt']);
  });
  it('takes a file by name whatever its extension', () => {
    assert.deepEqual(list('deep/d.bin'), ['deep/d.bin']);
  });
  it('matches a pattern', () => {
    assert.deepEqual(list('**/*.{txt,bin}'), [
      'a.txt',
      'b.txt',
      'deep/d.bin',
      'link.txt',
      'node_modules/f.txt',
    ]);
    assert.deepEqual(list('deep/**/*.md'), ['deep/er/c.md']);
  });
  it('keeps the order of the paths and names a file once', () => {
    assert.deepEqual(list('b.txt', '*.txt'), ['b.txt', 'a.txt', 'link.txt']);
  });
  for (const path of ['[z-a]*', '{a,{b,c}}.txt']) {
    it(`refuses ${path}, which is no pattern`, () => {
      assert.throws(
        () => list(path),
        (error) =>
          error instanceof TrainyardError &&
          error.code === 'DATA_UNREADABLE' &&
          error.report.where === `data.path: ${path}`,
      );
    });
  }
  it('answers any pattern with files or an error of its own', () => {
    const anyPattern = fc.array(fc.constantFrom(...'ab/*?[]{}!^-,\\.()|&~é')).map((parts) => parts.join(''));
    fc.assert(
      fc.property(anyPattern, (pattern) => {
        try {
          list(`deep/x${pattern}`);
        } catch (error) {
          assert.ok(error instanceof TrainyardError, `${pattern}: ${error}`);
        }
      }),
      { numRuns: 2000 },
    );
  });
  for (const [path, got] of [
    ['x'.repeat(5000), /: its name is too long$/],
    ['a\0b', /its name holds a NUL character$/],
  ] as const) {
    it(`refuses ${JSON.stringify(path.slice(0, 20))}, which the system does not take`, () => {
      assert.throws(
        () => list(path),
        (error) =>
          error instanceof TrainyardError &&
          error.code === 'DATA_UNREADABLE' &&
          got.test(error.report.got ?? ''),
      );
    });
  }
  for (const path of ['nowhere.txt', 'nowhere/*.txt', '*.zip', 'empty']) {
    it(`refuses ${path}, which names nothing`, () => {
      assert.throws(
        () => list(path),
        (error) =>
          error instanceof TrainyardError && error.code === 'DATA_UNREADABLE' && error.report.where === path,
      );
    });
  }
});

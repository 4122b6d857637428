import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { demandWritableFolder } from './demand-writable-folder.js';
import { nodeFileSystem } from './file-system.js';

const root = mkdtempSync(join(tmpdir(), 'trainyard-writable-'));
before(() => {
  writeFileSync(join(root, 'file'), 'mine');
  symlinkSync(join(root, 'gone'), join(root, 'link'));
});
after(() => rmSync(root, { recursive: true }));

test('a folder is made, and nothing is left in it', () => {
  const folder = join(root, 'new', 'er');
  demandWritableFolder(folder, 'output');
  demandWritableFolder(folder, 'output');
  assert.deepEqual(readdirSync(folder), []);
});

/** Places where nothing can be written, and why. */
const HOPELESS: readonly (readonly [name: string, reason: RegExp])[] = [
  ['file', /something else of this name is in the way$/],
  ['file/below', /something else of this name is in the way$/],
  ['link', /something else of this name is in the way$/],
  ['x'.repeat(300), /its name is too long$/],
  ['nul\0', /its name holds a NUL character$/],
];

for (const [name, reason] of HOPELESS) {
  test(`${JSON.stringify(name.slice(0, 20))} is refused`, () => {
    assertRefused(join(root, name), reason);
  });
}

test('a system folder in which nothing can be made is refused, not tried for ever', () => {
  assertRefused('/proc/trainyard/here', /no folder can be made there$/);
});

test('a full disk is noticed', () => {
  const full = () => {
    throw Object.assign(new Error('no space'), { code: 'ENOSPC', syscall: 'write' });
  };
  const folder = join(root, 'full');
  assert.throws(
    () => demandWritableFolder(folder, 'output', { ...nodeFileSystem, write: full }),
    /the disk is full/,
  );
  assert.deepEqual(readdirSync(folder), []);
});

function assertRefused(path: string, reason: RegExp): void {
  assert.throws(
    () => demandWritableFolder(path, 'output (run.json:3:5)'),
    (error) => {
      assert.ok(error instanceof TrainyardError, String(error));
      assert.equal(error.code, 'OUTPUT_UNUSABLE');
      assert.equal(error.exitCode, 2);
      assert.equal(error.report.where, 'output (run.json:3:5)');
      assert.match(error.report.got ?? '', reason);
      return true;
    },
  );
}

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

let disk = '';
before(() => {
  disk = mkdtempSync(join(tmpdir(), 'trainyard-bigger-'));
});
after(() => rmSync(disk, { recursive: true }));

test('152 million parameters are trained in less than half of the memory that their state takes', () => {
  const program = join(import.meta.dirname, 'bigger-than-memory.js');
  const args = [program, disk, '--size', 'small', '--steps', '2', '--json'];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
  const { peakBytes, limitBytes, stateBytes, falls } = JSON.parse(stdout) as Record<string, number | boolean>;
  assert.ok(Number(stateBytes) >= 16 * 150e6, 'it is as large as it is said to be');
  assert.ok(Number(peakBytes) <= Number(limitBytes) && 2 * Number(limitBytes) < Number(stateBytes));
  assert.ok(falls);
  assert.deepEqual(readdirSync(disk), []);
});

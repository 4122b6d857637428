import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import type { MemoryBound } from './enforce-memory.js';

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
  const { bound, ...numbers } = JSON.parse(stdout) as { readonly bound: MemoryBound };
  const { peakBytes, limitBytes, stateBytes, falls } = numbers as Record<string, number | boolean>;
  if (process.platform === 'linux') assert.notEqual(bound.by, 'nothing', bound.explanation);
  assert.ok(Number(stateBytes) >= 16 * 150e6, 'it is as large as it is said to be');
  assert.ok(Number(peakBytes) <= Number(limitBytes) && 2 * Number(limitBytes) < Number(stateBytes));
  assert.ok(falls);
  assert.deepEqual(readdirSync(disk), []);
});

/** Asks for twice what it may have, and touches none of it. */
const GREEDY = `
  const { enforceMemory } = await import(process.argv[1]);
  const { empty } = await import(process.argv[2]);
  const [limit, ask] = [2 ** 30, (bytes) => void empty([bytes], { dtype: 'uint8' }).dispose()];
  ask(2 * limit);
  process.stdout.write(enforceMemory(limit).by + ' ');
  ask(limit / 4);
  try { ask(2 * limit); } catch (error) { process.stdout.write(error.code); }
`;

test('the system itself refuses what is above the limit', (context) => {
  const modules = ['enforce-memory.js', '../src/tensor/generated/functions.js'].map(
    (name) => pathToFileURL(join(import.meta.dirname, name)).href,
  );
  const args = ['--input-type=module', '--eval', GREEDY, ...modules];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  const [by, refused] = stdout.split(' ');
  // A control group ends a process that touches too much, and lets it ask.
  if (by !== 'RLIMIT_DATA') return context.diagnostic(`not RLIMIT_DATA but ${by}: ${stderr}`);
  assert.equal(refused, 'TENSOR_OPERATOR', stdout + stderr);
});

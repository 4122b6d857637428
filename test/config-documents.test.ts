import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

test('docs/config.md, docs/trainyard.schema.json and the type UserConfig follow from the schemas', () => {
  const script = fileURLToPath(new URL('../../scripts/generate-config-documents.mjs', import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});

// Writes what follows from the configuration's schemas and key tables: docs/config.md, docs/trainyard.schema.json
// and src/engine/config/user-config.ts. Needs the compiled sources. `--check` writes nothing and fails when a
// file would change.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { knownKeys } from '../dist/src/engine/config/known-keys.js';
import { configJsonSchema } from '../dist/src/engine/config/published-schema.js';
import { configMarkdown } from './config-documents/markdown.mjs';
import { userConfigModule } from './config-documents/typescript.mjs';

const root = join(import.meta.dirname, '..');
const files = {
  'docs/config.md': formatted('config.md', configMarkdown(knownKeys)),
  'docs/trainyard.schema.json': formatted('schema.json', JSON.stringify(configJsonSchema(), null, 2)),
  'src/engine/config/user-config.ts': formatted('user-config.ts', userConfigModule(knownKeys.schema)),
};

const outdated = Object.entries(files).filter(([path, text]) => read(join(root, path)) !== text);
for (const [path, text] of outdated) {
  if (process.argv.includes('--check')) console.error(`${path} is out of date: run \`npm run generate\``);
  else writeFileSync(join(root, path), text);
}
if (outdated.length > 0 && process.argv.includes('--check')) process.exit(1);

/** @param {string} name @param {string} text */
function formatted(name, text) {
  const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
  const result = spawnSync(process.execPath, [biome, 'format', `--stdin-file-path=${name}`], {
    cwd: root,
    input: text,
  });
  if (result.status !== 0) throw new Error(String(result.stderr));
  return String(result.stdout);
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
